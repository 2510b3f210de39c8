// SPDX-License-Identifier: Apache-2.0
// A training program without libtorch: the real engine over real transports, on a replica whose
// right answer is known. Started by `spillway run`, like any program on the engine. --help lists
// its flags.
#include <signal.h>
#include <time.h>

#include <algorithm>
#include <charconv>
#include <condition_variable>
#include <cstdio>
#include <filesystem>
#include <mutex>
#include <thread>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "spillway/base/environment.h"
#include "spillway/base/log.h"
#include "spillway/base/status.h"
#include "spillway/comm/transport.h"
#include "spillway/coordinator/link.h"
#include "toy_replica.h"

namespace spillway {
namespace {

struct ToyOptions
{
  std::uint64_t steps = 100;
  std::uint64_t step_ms = 0;   // how long a step computes, whatever its slice
  std::uint64_t state_mb = 0;  // beside the few kilobytes that are trained
  std::uint64_t samples = 960;
  std::uint64_t batch = 48;
  std::uint64_t micro_batch = 8;
  std::uint64_t parameters = 1000;  // bits of the used-parameter bitmap
  std::uint64_t check_bytes = 256 * 1024;
  std::uint64_t flip_bit_step = 0;    // before this step a bit of the state flips …
  std::uint64_t flip_bit_worker = 0;  // … at this worker
  std::uint64_t skip_step = 0;        // in this step the loop leaves a sample out …
  std::uint64_t repeat_step = 0;      // … or computes one twice
  std::string arithmetic = "toy";
  std::string stop_file;  // once it exists this worker asks for the end
};

constexpr char kUsage[] =
    "usage: toy_worker [--steps N] [--step-ms T] [--state-mb M] [--samples N] [--batch N]\n"
    "  [--micro-batch N] [--parameters N] [--check-bytes N] [--flip-bit-step S --flip-bit-worker "
    "W]\n"
    "  [--skip-step S] [--repeat-step S] [--arithmetic NAME] [--stop-file PATH]\n";

absl::Status set(ToyOptions& options, const std::string& name, const std::string& value)
{
  const std::pair<const char*, std::uint64_t*> numbers[] = {
      {"--steps", &options.steps},
      {"--step-ms", &options.step_ms},
      {"--state-mb", &options.state_mb},
      {"--samples", &options.samples},
      {"--batch", &options.batch},
      {"--micro-batch", &options.micro_batch},
      {"--parameters", &options.parameters},
      {"--check-bytes", &options.check_bytes},
      {"--flip-bit-step", &options.flip_bit_step},
      {"--flip-bit-worker", &options.flip_bit_worker},
      {"--skip-step", &options.skip_step},
      {"--repeat-step", &options.repeat_step}};
  for (const auto& [known, number] : numbers)
  {
    if (name != known) continue;
    const auto [end, error] = std::from_chars(value.data(), value.data() + value.size(), *number);
    if (error == std::errc() && end == value.data() + value.size()) return absl::OkStatus();
    return absl::InvalidArgumentError(absl::StrCat(name, " needs a number, not '", value, "'"));
  }
  if (name == "--arithmetic")
    options.arithmetic = value;
  else if (name == "--stop-file")
    options.stop_file = value;
  else
    return absl::InvalidArgumentError(absl::StrCat("unknown flag ", name, "\n", kUsage));
  return absl::OkStatus();
}

absl::StatusOr<ToyOptions> parse(int argc, char** argv)
{
  ToyOptions options;
  for (int i = 1; i < argc; i += 2)
  {
    if (i + 1 == argc)
      return absl::InvalidArgumentError(absl::StrCat(argv[i], " has no value\n", kUsage));
    SPILLWAY_RETURN_IF_ERROR(set(options, argv[i], argv[i + 1]));
  }
  return options;
}

// Turns SIGTERM into a wish to leave. Made before any other thread, so that all block the signal.
class LeaveOnSigterm
{
 public:
  LeaveOnSigterm()
  {
    sigemptyset(&wanted_);
    sigaddset(&wanted_, SIGTERM);
    pthread_sigmask(SIG_BLOCK, &wanted_, nullptr);
  }
  // Until stop(), before the engine goes.
  void start(engine::Engine& engine)
  {
    thread_ = std::jthread([this, &engine](const std::stop_token& stop) {
      const timespec interval{.tv_sec = 0, .tv_nsec = 20'000'000};
      while (!stop.stop_requested())
        if (sigtimedwait(&wanted_, nullptr, &interval) == SIGTERM) engine.request_leave();
    });
  }
  void stop() { thread_ = std::jthread(); }

 private:
  sigset_t wanted_{};
  std::jthread thread_;
};

class ToyWorker
{
 public:
  explicit ToyWorker(ToyOptions options)
      : options_(std::move(options)), replica_(options_.samples, options_.state_mb * (1 << 18))
  {
    replica_.on_micro_batch = [this](const engine::StepPlan& plan,
                                     std::vector<std::int64_t>& indices) {
      if (plan.name.step.value() == options_.skip_step) indices.pop_back();
      if (plan.name.step.value() == options_.repeat_step) indices.push_back(indices.front());
    };
  }
  ~ToyWorker() { leave_on_sigterm_.stop(); }
  absl::Status run();

 private:
  absl::Status start();
  absl::Status step(const engine::StepPlan& plan);
  void take_time();
  void report() const;

  const ToyOptions options_;
  testing::ToyReplica replica_;
  LeaveOnSigterm leave_on_sigterm_;
  std::unique_ptr<coordinator::ControlLink> link_;
  std::unique_ptr<engine::Engine> engine_;
  std::mutex mutex_;
  std::condition_variable never_notified_;
  std::vector<Duration> words_;
  std::vector<Duration> settlings_;  // last bucket complete → step applied
};

absl::Status ToyWorker::start()
{
  const std::string socket = environment("SPILLWAY_AGENT_SOCKET").value_or("");
  if (socket.empty()) return absl::FailedPreconditionError("start it by `spillway run`");
  link_ = coordinator::make_worker_link(socket, system_clock());
  engine::EngineOptions options;
  options.job_id = environment("SPILLWAY_JOB").value_or("");
  options.data = {.parts = {{.name = "numbers", .size = options_.samples}},
                  .global_batch = options_.batch,
                  .max_micro_batch = options_.micro_batch,
                  .seed = 7};
  options.last_step = StepId(options_.steps);
  options.parameter_count = options_.parameters;
  options.arithmetic_class = options_.arithmetic;
  options.replica_check_bytes_per_step = options_.check_bytes;
  options.event_log_directory = environment("SPILLWAY_EVENT_LOG_DIR").value_or("");
  SPILLWAY_ASSIGN_OR_RETURN(
      engine_,
      engine::Engine::start(options, replica_.table(), replica_.bucket_specs(), replica_,
                            {.link = link_.get(),
                             .make_transport = comm::make_transport,
                             .host = environment("SPILLWAY_LOCAL_ADDR").value_or("127.0.0.1"),
                             .clock = &system_clock()}));
  set_log_context(absl::StrCat("worker ", engine_->worker_id().value()));
  leave_on_sigterm_.start(*engine_);
  return absl::OkStatus();
}

// Stands for computing: nobody notifies, and an abort is looked for often.
void ToyWorker::take_time()
{
  const MonotonicTime end =
      deadline_after(system_clock().now(), std::chrono::milliseconds(options_.step_ms));
  std::unique_lock lock(mutex_);
  for (MonotonicTime now = system_clock().now(); now < end && !engine_->step_aborted();
       now = system_clock().now())
    never_notified_.wait_for(lock, std::min<Duration>(end - now, std::chrono::milliseconds(2)));
}

absl::Status ToyWorker::step(const engine::StepPlan& plan)
{
  const bool flip = plan.name.step.value() == options_.flip_bit_step &&
                    engine_->worker_id().value() == options_.flip_bit_worker;
  if (flip && !plan.redo) replica_.flip_a_bit();
  if (!options_.stop_file.empty() && std::filesystem::exists(options_.stop_file))
    engine_->request_stop();
  take_time();
  engine::StepContribution contribution;
  contribution.received = replica_.compute(*engine_, plan);
  for (const engine::PositionRange& range : contribution.received)
    contribution.samples += range.size();
  contribution.weight = static_cast<double>(contribution.samples);
  contribution.loss_sum = contribution.weight;
  std::vector<std::uint64_t> used((options_.parameters + 63) / 64, ~std::uint64_t{0});
  contribution.used_parameters = used;
  const MonotonicTime called_at = system_clock().now();
  SPILLWAY_ASSIGN_OR_RETURN(const engine::StepOutcome outcome, engine_->finish_step(contribution));
  if (outcome.result != engine::StepResult::kApplied) return absl::OkStatus();
  const Duration took = system_clock().now() - called_at;
  const engine::EngineStats stats = engine_->stats();
  words_.push_back(stats.last_word);
  settlings_.push_back(took - stats.last_reduce_wait);
  return absl::OkStatus();
}

absl::Status ToyWorker::run()
{
  SPILLWAY_RETURN_IF_ERROR(start());
  while (true)
  {
    SPILLWAY_ASSIGN_OR_RETURN(const auto plan, engine_->begin_step());
    if (!plan) break;
    SPILLWAY_RETURN_IF_ERROR(step(*plan));
  }
  report();
  return absl::OkStatus();
}

double median_us(std::vector<Duration> values)
{
  if (values.empty()) return 0;
  std::sort(values.begin(), values.end());
  return std::chrono::duration<double, std::micro>(values[values.size() / 2]).count();
}

// One JSON object for tests and benchmarks.
void ToyWorker::report() const
{
  const engine::EngineStats stats = engine_->stats();
  std::printf(
      "{\"worker\":%llu,\"steps_applied\":%llu,\"steps_aborted\":%llu,\"vote_us\":%.1f,\"settle_"
      "us\":%.1f}\n",
      static_cast<unsigned long long>(engine_->worker_id().value()),
      static_cast<unsigned long long>(stats.steps_applied),
      static_cast<unsigned long long>(stats.steps_aborted), median_us(words_),
      median_us(settlings_));
}

}  // namespace
}  // namespace spillway

int main(int argc, char** argv)
{
  const auto options = spillway::parse(argc, argv);
  absl::Status status = options.status();
  if (options.ok()) status = spillway::ToyWorker(*options).run();
  if (status.ok()) return 0;
  std::fprintf(stderr, "toy_worker: %s\n", status.ToString().c_str());
  return options.ok() ? 1 : 2;
}
