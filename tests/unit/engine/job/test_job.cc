// SPDX-License-Identifier: Apache-2.0
#include "test_job.h"

#include "gtest/gtest.h"
#include "numbered_link.h"
#include "spillway/base/rng.h"
#include "spillway/base/status.h"
#include "spillway/comm/transport.h"

namespace spillway::testing {
namespace {

constexpr Duration kPatience = std::chrono::seconds(90);

}  // namespace

TestJob::TestJob(JobSetup setup) : setup_(setup)
{
  folder_ = std::filesystem::temp_directory_path() /
            absl::StrCat("spillway-engine-", secure_random_u64());
  std::filesystem::create_directories(folder_);
  store_ = coordinator::open_memory_store(coordinator::make_memory_disk());
  open_runner();
  coordinator::NodeHello hello;
  hello.job = "toy";
  hello.slots = setup_.workers_max;
  hello.options.workers_min = setup_.workers_min;
  hello.options.workers_max = setup_.workers_max;
  hello.options.last_call = setup_.last_call;
  hello.options.lease = setup_.lease;
  node_ = coordinator::InProcessNode::connect(*runner_, hello, system_clock());
}

void TestJob::open_runner()
{
  const auto term = store_->begin_term();
  ASSERT_TRUE(term.ok()) << term.status();
  auto runner = coordinator::JobRunner::open(
      "toy", {.progress_floor = setup_.progress_floor},
      {.store = store_.get(), .term = *term, .clock = &system_clock(), .on_deposed = {}});
  ASSERT_TRUE(runner.ok()) << runner.status();
  runner_ = *std::move(runner);
}

TestJob::~TestJob()
{
  join();
  for (auto& worker : workers_) worker->link_.reset();
  node_.reset();
  runner_.reset();
  std::filesystem::remove_all(folder_);
}

void TestJob::stop_coordinator()
{
  node_->disconnect();
  runner_.reset();
}

void TestJob::start_coordinator()
{
  open_runner();
  node_->reconnect(*runner_);
}

TestWorker& TestJob::start_worker(TestWorker::Hooks hooks)
{
  const auto pid = static_cast<std::int64_t>(workers_.size() + 1);
  workers_.push_back(std::unique_ptr<TestWorker>(new TestWorker(setup_, pid)));
  TestWorker& worker = *workers_.back();
  worker.hooks_ = std::move(hooks);
  worker.link_ = std::make_unique<NumberedLink>(node_->make_link(), pid);
  worker.thread_ = std::thread([this, &worker] { run(worker); });
  return worker;
}

void TestJob::run(TestWorker& worker)
{
  worker.status_ = train(worker);
  if (worker.engine_)
  {
    worker.stats_ = worker.engine_->stats();
    worker.end_ = worker.engine_->end_reason();
  }
  worker.engine_.reset();
  session().report_exited(worker.pid_, {.exit_code = worker.died_ ? 1 : 0,
                                        .signal = 0,
                                        .last_words = std::string(worker.status_.message())});
  const std::lock_guard lock(mutex_);
  worker.step_ = ~std::uint64_t{0};
  changed_.notify_all();
}

absl::StatusOr<std::unique_ptr<comm::Transport>> TestJob::make_transport(
    comm::TransportOptions options) const
{
  auto transport = comm::make_loopback_transport(std::move(options));
  if (!transport.ok() || setup_.links == nullptr) return transport;
  return make_faulty_transport(*std::move(transport), *setup_.links);
}

absl::Status TestJob::train(TestWorker& worker)
{
  engine::EngineOptions options;
  options.job_id = "toy";
  options.data = {.parts = {{.name = "numbers", .size = setup_.samples}},
                  .global_batch = setup_.global_batch,
                  .max_micro_batch = setup_.max_micro_batch,
                  .seed = 7};
  if (setup_.last_step) options.last_step = setup_.last_step;
  options.parameter_count = 100;
  options.arithmetic_class = "toy";
  options.lease = setup_.lease;
  options.word_timeout = setup_.word_timeout;
  options.replica_check_bytes_per_step = setup_.replica_check_bytes;
  if (setup_.log) options.event_log_directory = folder_.string();
  SPILLWAY_ASSIGN_OR_RETURN(
      worker.engine_,
      engine::Engine::start(
          options, worker.replica_.table(), worker.replica_.bucket_specs(), worker.replica_,
          {.link = worker.link_.get(),
           .make_transport =
               [this](comm::TransportOptions wanted) { return make_transport(std::move(wanted)); },
           .host = "127.0.0.1",
           .clock = &system_clock()}));
  engine::Engine& engine = *worker.engine_;
  {
    const std::lock_guard lock(mutex_);
    worker.id_ = engine.worker_id().value();
    changed_.notify_all();
  }
  while (true)
  {
    SPILLWAY_ASSIGN_OR_RETURN(const std::optional<engine::StepPlan> plan, engine.begin_step());
    if (!plan) return absl::OkStatus();
    if (worker.hooks_.on_begin && !worker.hooks_.on_begin(engine, *plan)) break;
    engine::StepContribution contribution;
    contribution.received = worker.replica_.compute(engine, *plan);
    for (const engine::PositionRange& range : contribution.received)
      contribution.samples += range.size();
    contribution.weight = static_cast<double>(contribution.samples);
    contribution.loss_sum = 2.0 * contribution.weight;
    if (worker.hooks_.on_finish && !worker.hooks_.on_finish(engine, *plan, contribution)) break;
    SPILLWAY_ASSIGN_OR_RETURN(const engine::StepOutcome outcome, engine.finish_step(contribution));
    if (outcome.result != engine::StepResult::kAborted)
    {
      worker.totals_.push_back(outcome.totals);
      const std::lock_guard lock(mutex_);
      worker.step_ = plan->name.step.value();
      changed_.notify_all();
    }
    if (worker.hooks_.on_outcome && !worker.hooks_.on_outcome(engine, *plan, outcome)) break;
  }
  worker.died_ = true;
  return absl::OkStatus();
}

void TestJob::await_step(TestWorker& worker, StepId step)
{
  std::unique_lock lock(mutex_);
  const bool reached =
      changed_.wait_for(lock, kPatience, [&] { return worker.step_ >= step.value(); });
  ASSERT_TRUE(reached) << "worker " << worker.id() << " stays at step " << worker.step_;
}

void TestJob::await_registered(TestWorker& worker)
{
  std::unique_lock lock(mutex_);
  ASSERT_TRUE(changed_.wait_for(lock, kPatience, [&] { return worker.id_ != 0; }));
}

StepId TestJob::await_standstill(TestWorker& worker)
{
  const MonotonicTime give_up = deadline_after(system_clock().now(), kPatience);
  std::unique_lock lock(mutex_);
  while (system_clock().now() < give_up)
  {
    const std::uint64_t before = worker.step_;
    const bool moved = changed_.wait_for(lock, std::chrono::milliseconds(500),
                                         [&] { return worker.step_ != before; });
    if (!moved) return StepId(before);
  }
  ADD_FAILURE() << "worker " << worker.id() << " never holds";
  return StepId(worker.step_);
}

void TestJob::join()
{
  for (auto& worker : workers_)
  {
    if (!worker->thread_.joinable()) continue;
    await_step(*worker, StepId(~std::uint64_t{0}));
    worker->thread_.join();
  }
}

invariants::LogReport TestJob::read_log()
{
  const auto report = invariants::check_log_directory(folder_.string());
  EXPECT_TRUE(report.ok()) << report.status();
  return report.ok() ? *report : invariants::LogReport{};
}

invariants::LogReport TestJob::check_log()
{
  invariants::LogReport report = read_log();
  EXPECT_TRUE(report.findings.empty()) << report.text();
  EXPECT_TRUE(report.replicas_equal);
  EXPECT_EQ(report.samples_lost, 0u);
  EXPECT_EQ(report.samples_doubled, 0u);
  return report;
}

void TestJob::expect_trained(TestWorker& worker, StepId steps)
{
  const auto plan =
      engine::DataPlan::create({.parts = {{.name = "numbers", .size = setup_.samples}},
                                .global_batch = setup_.global_batch,
                                .max_micro_batch = 0,
                                .seed = 7});
  ASSERT_TRUE(plan.ok());
  std::vector<std::int64_t> uses(setup_.samples);
  for (std::uint64_t step = 1; step <= steps.value(); ++step)
    for (const engine::PositionRange& range : plan->step_positions(StepId(step)))
      for (std::uint64_t position = range.begin; position < range.end; ++position)
        ++uses[plan->index_at(range.part, position)];
  EXPECT_EQ(worker.replica_.uses(), uses);
  EXPECT_EQ(worker.replica_.steps(), static_cast<std::int64_t>(steps.value()));
  EXPECT_EQ(worker.replica_.average(), static_cast<double>(steps.value()) * 0.5);
}

}  // namespace spillway::testing
