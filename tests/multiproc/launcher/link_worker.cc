// SPDX-License-Identifier: Apache-2.0
// A worker on the API that trains nothing: it introduces itself, goes through the numbers that it
// is told as if every step took no time, prints what it hears, and ends as told. For tests of
// launcher, agent and coordinator without an engine.
//
//   --finish FILE   when FILE is there, the job's last step is complete
//   --model NAME    registers another tensor, so that other workers' models differ
//   --die-at-once   exits with code 9 once it is registered
#include <signal.h>
#include <unistd.h>

#include <condition_variable>
#include <cstdio>
#include <filesystem>
#include <mutex>
#include <optional>

#include "absl/strings/numbers.h"
#include "spillway/base/environment.h"
#include "spillway/coordinator/link.h"

namespace spillway {
namespace {

using namespace coordinator;

constexpr std::chrono::milliseconds kTick{50};
volatile sig_atomic_t asked_to_leave = 0;

std::uint32_t number_in_environment(const char* name)
{
  std::uint32_t value = 0;
  return absl::SimpleAtoi(environment(name).value_or("0"), &value) ? value : 0;
}

class Worker
{
 public:
  explicit Worker(const std::string& socket) : link_(make_worker_link(socket, system_clock())) {}

  absl::Status enter(const std::string& model, bool of_another_version)
  {
    LinkCallbacks callbacks;
    callbacks.on_message = [this](const ControlMessage& message) { on_message(message); };
    callbacks.on_connection = [this](bool up, const absl::Status& why) { on_link(up, why); };
    callbacks.on_leave_request = [](bool) { asked_to_leave = 1; };
    link_->start(callbacks);
    WorkerHello hello;
    hello.job = environment("SPILLWAY_JOB").value_or("");
    hello.slot = number_in_environment("SPILLWAY_SLOT");
    hello.restart_count = number_in_environment("SPILLWAY_RESTART_COUNT");
    hello.pid = getpid();
    hello.host = "here";
    hello.peer_address = "127.0.0.1:1";
    hello.spec.tensors = {{model, "float32", {2, 3}}};
    hello.spec.global_batch = 8;
    hello.spec.data_set_size = 100;
    hello.spec.arithmetic_class = "none";
    if (of_another_version) ++hello.protocol_version, hello.program_version = "99.0";
    const auto welcome =
        link_->register_worker(hello, system_clock().now() + std::chrono::seconds(60));
    if (!welcome.ok()) return welcome.status();
    const std::lock_guard lock(mutex_);
    status_.lineage = welcome->lineage;
    id_ = welcome->worker;
    std::printf("registered as %s\n", to_string(id_).c_str());
    if (!status_.promised) link_->send(status_);
    return absl::OkStatus();
  }

  // Until it is told to end. The exit code.
  int work(const std::filesystem::path& finish)
  {
    std::unique_lock lock(mutex_);
    while (!code_)
    {
      over_.wait_for(lock, kTick);
      if (asked_to_leave != 0 && !status_.wants_to_leave)
      {
        status_.wants_to_leave = true;
        std::printf("asks to leave\n");
        link_->send(status_);
      }
      const bool finished = !finish.empty() && std::filesystem::exists(finish);
      if (finished && status_.current && status_.done != status_.current)
      {
        status_.done = status_.current;
        link_->send(status_);
      }
    }
    return *code_;
  }

 private:
  void on_message(const ControlMessage& message)
  {
    const std::lock_guard lock(mutex_);
    if (const auto* abort = std::get_if<Abort>(&message))
    {
      std::printf("abort %s at %lld\n", to_string(abort->name.job_epoch).c_str(),
                  static_cast<long long>(system_clock().now().time_since_epoch().count()));
      status_.promised = status_.highest_seen = abort->name.job_epoch;
    }
    else if (const auto* epoch = std::get_if<EpochAnnouncement>(&message))
      enter_number(epoch->name.job_epoch, epoch->members, epoch->base.step, Number());
    else if (const auto* pending = std::get_if<PendingAnnouncement>(&message))
      enter_number(pending->name.job_epoch, pending->members,
                   status_.applied ? status_.applied->step : StepId(), status_.current);
    else if (const auto* release = std::get_if<Release>(&message))
      end(0, end_reason_name(release->reason));
    link_->send(status_, members_);
    std::fflush(stdout);
  }

  void enter_number(Number number, const MemberListUpdate& update, StepId base, Number from)
  {
    const auto list = apply_update(members_.get(), update);
    if (!list.ok()) return end(4, std::string(list.status().message()));
    if (!(*list)->contains(id_))
    {
      status_.left = number;
      status_.current = Number();
      return;
    }
    members_ = *list;
    std::printf("number %s of %zu members\n", to_string(number).c_str(), members_->size());
    status_.current = status_.installed = status_.first_word = status_.highest_seen = number;
    status_.promised = std::max(status_.promised, number);
    status_.switched_from = from;
    status_.applied = StateName{number, base.next()};
  }

  void on_link(bool up, const absl::Status& why)
  {
    std::printf("link %s %s\n", up ? "up" : "down", std::string(why.message()).c_str());
    std::fflush(stdout);
    const std::lock_guard lock(mutex_);
    if (!up && why.code() != absl::StatusCode::kUnavailable) end(3, std::string(why.message()));
  }

  void end(int code, const std::string& why)
  {
    std::printf("ends: %s\n", why.c_str());
    if (!code_) code_ = code;
    over_.notify_all();
  }

  std::mutex mutex_;
  std::condition_variable over_;
  WorkerId id_;
  MemberStatus status_;
  MemberListPtr members_;
  std::optional<int> code_;
  std::unique_ptr<ControlLink> link_;
};

int run(const std::vector<std::string>& arguments)
{
  std::string finish, model = "weight";
  bool dies = false, other = false;
  for (std::size_t i = 0; i < arguments.size(); ++i)
  {
    if (arguments[i] == "--finish") finish = arguments.at(++i);
    if (arguments[i] == "--model") model = arguments.at(++i);
    dies = dies || arguments[i] == "--die-at-once";
    other = other || arguments[i] == "--another-version";
  }
  setvbuf(stdout, nullptr, _IOLBF, 0);
  signal(SIGTERM, [](int) { asked_to_leave = 1; });
  Worker worker(environment("SPILLWAY_AGENT_SOCKET").value_or("/nowhere"));
  const absl::Status entered = worker.enter(model, other);
  if (!entered.ok())
  {
    std::fprintf(stderr, "not registered: %s\n", std::string(entered.message()).c_str());
    return 5;
  }
  return dies ? 9 : worker.work(finish);
}

}  // namespace
}  // namespace spillway

int main(int argc, char** argv)
{
  return spillway::run({argv + 1, argv + argc});
}
