// SPDX-License-Identifier: Apache-2.0
#include "service/in_process_worker.h"

#include <algorithm>

#include "spillway/base/check.h"

namespace spillway::coordinator {
namespace {

// A worker that takes nothing for so long is lost to the job anyway.
constexpr std::size_t kOrdersMax = 65536;
// A waiter looks at the clock this often: it may be one that a test moves.
constexpr Duration kLookAtClock = std::chrono::milliseconds(20);

}  // namespace

InProcessLink::InProcessLink(NodeSession& session, const Clock& clock)
    : session_(session), clock_(clock)
{
  link_ = session_.open_link([this](const WorkerOrder& order) { take(order); });
}

InProcessLink::~InProcessLink()
{
  session_.close_link(link_);
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  wake_.notify_all();
  if (thread_.joinable()) thread_.join();
}

void InProcessLink::start(LinkCallbacks callbacks)
{
  SPILLWAY_CHECK(!thread_.joinable(), "a link is started once");
  callbacks_ = std::move(callbacks);
  thread_ = std::thread([this] { run(); });
}

// Under the session's lock: only queues.
void InProcessLink::take(const WorkerOrder& order)
{
  {
    const std::lock_guard lock(mutex_);
    if (const auto* welcome = std::get_if<Welcome>(&order))
      answer_ = *welcome;
    else if (const auto* refusal = std::get_if<Refusal>(&order))
      answer_ = refusal->status;
    else if (!orders_.empty() && std::holds_alternative<Acknowledged>(order) &&
             std::holds_alternative<Acknowledged>(orders_.back()))
      orders_.back() = order;
    else if (orders_.size() < kOrdersMax)
      orders_.push_back(order);
    if (const auto* state = std::get_if<LinkState>(&order)) up_ = state->up;
  }
  wake_.notify_all();
}

void InProcessLink::run()
{
  std::unique_lock lock(mutex_);
  while (true)
  {
    wake_.wait(lock, [&] { return stopping_ || !orders_.empty(); });
    if (stopping_) return;
    const WorkerOrder order = std::move(orders_.front());
    orders_.pop_front();
    lock.unlock();
    call_back(order);
    lock.lock();
  }
}

void InProcessLink::call_back(const WorkerOrder& order)
{
  if (const auto* message = std::get_if<ControlMessage>(&order))
  {
    if (callbacks_.on_message) callbacks_.on_message(*message);
  }
  else if (const auto* acknowledged = std::get_if<Acknowledged>(&order))
  {
    if (callbacks_.on_acknowledged) callbacks_.on_acknowledged(acknowledged->sent_at);
  }
  else if (const auto* state = std::get_if<LinkState>(&order))
  {
    if (callbacks_.on_connection) callbacks_.on_connection(state->up, state->why);
  }
  else if (const auto* leave = std::get_if<LeaveRequest>(&order))
  {
    if (callbacks_.on_leave_request) callbacks_.on_leave_request(leave->urgent);
  }
}

absl::StatusOr<Welcome> InProcessLink::register_worker(const WorkerHello& hello,
                                                       MonotonicTime deadline)
{
  {
    const std::lock_guard lock(mutex_);
    answer_.reset();
  }
  session_.from_worker(link_, hello);
  std::unique_lock lock(mutex_);
  while (!answer_)
  {
    const MonotonicTime now = clock_.now();
    if (now >= deadline)
    {
      const std::string who =
          absl::StrCat("job ", hello.job, ": the worker with pid ", hello.pid, " on ", hello.host);
      if (!session_.node())
        return absl::UnavailableError(
            absl::StrCat(who, ": its agent has not reached a coordinator"));
      return absl::DeadlineExceededError(
          absl::StrCat(who, ": the coordinator has not answered in time; try again"));
    }
    wake_.wait_for(lock, std::min(deadline - now, kLookAtClock));
  }
  return *answer_;
}

void InProcessLink::send(const MemberStatus& status, MemberListPtr members)
{
  StatusUpdate update{.status = status, .has_members = members != nullptr, .members = {}};
  if (members) update.members = members->members();
  session_.from_worker(link_, std::move(update));
}
void InProcessLink::send(const ProgressReport& report)
{
  session_.from_worker(link_, report);
}
void InProcessLink::send(const ProbeResult& result)
{
  session_.from_worker(link_, result);
}
void InProcessLink::send(const Telemetry& telemetry)
{
  session_.from_worker(link_, telemetry);
}

}  // namespace spillway::coordinator
