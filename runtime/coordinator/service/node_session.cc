// SPDX-License-Identifier: Apache-2.0
// The launcher's side: what it says of its processes, what it asks of them, what it hears.
#include "spillway/coordinator/node_session.h"

#include "absl/strings/str_cat.h"
#include "service/node_session_impl.h"

namespace spillway::coordinator {
namespace {

// Exits are told again to a coordinator that comes back, as many of them as this.
constexpr std::size_t kGoneWorkersKept = 1024;

}  // namespace

NodeSession::Impl::Impl(NodeHello hello, NodeCallbacks callbacks)
    : callbacks_(std::move(callbacks)), hello_(std::move(hello))
{
  callback_thread_ = std::thread([this] { run_callbacks(); });
}

NodeSession::Impl::~Impl()
{
  {
    const std::lock_guard lock(callback_mutex_);
    stopping_ = true;
  }
  callback_wake_.notify_all();
  callback_thread_.join();
}

void NodeSession::Impl::call(std::function<void()> callback)
{
  {
    const std::lock_guard lock(callback_mutex_);
    callback_queue_.push_back(std::move(callback));
    ++callbacks_queued_;
  }
  callback_wake_.notify_all();
}

void NodeSession::Impl::run_callbacks()
{
  std::unique_lock lock(callback_mutex_);
  while (true)
  {
    callback_wake_.wait(lock, [&] { return stopping_ || !callback_queue_.empty(); });
    if (stopping_) return;
    const std::function<void()> callback = std::move(callback_queue_.front());
    callback_queue_.pop_front();
    lock.unlock();
    callback();
    lock.lock();
    ++callbacks_returned_;
    callback_returned_.notify_all();
  }
}

void NodeSession::Impl::wait_for_callbacks(Duration bound)
{
  std::unique_lock lock(callback_mutex_);
  const std::uint64_t all = callbacks_queued_;
  callback_returned_.wait_for(lock, bound, [&] { return callbacks_returned_ >= all; });
}

// The newest with this pid that is not known to have ended: pids are used again.
NodeSession::Impl::Worker* NodeSession::Impl::by_pid(std::int64_t pid, LinkId* link)
{
  for (auto at = workers_.rbegin(); at != workers_.rend(); ++at)
  {
    Worker& worker = at->second;
    if (!worker.hello || worker.hello->pid != pid || worker.exit) continue;
    if (link != nullptr) *link = at->first;
    return &worker;
  }
  return nullptr;
}

void NodeSession::Impl::report_exited(std::int64_t pid, const ExitReport& exit)
{
  const std::lock_guard lock(mutex_);
  LinkId link;
  Worker* worker = by_pid(pid, &link);
  if (worker == nullptr) return;
  worker->exit = exit;
  send_fate(link, *worker, WorkerFate::Kind::kExited, "");
  // Links that it had before: whoever gets its pid is another process.
  std::erase_if(workers_, [&](const auto& entry) {
    const Worker& other = entry.second;
    return other.hello && other.hello->pid == pid && !other.exit && !other.deliver;
  });
  forget_old_workers();
}

void NodeSession::Impl::report_silent(std::int64_t pid, const std::string& reason)
{
  const std::lock_guard lock(mutex_);
  LinkId link;
  Worker* worker = by_pid(pid, &link);
  if (worker == nullptr) return;
  worker->silent = true;
  worker->silent_reason = reason;
  send_fate(link, *worker, WorkerFate::Kind::kSilent, reason);
}

void NodeSession::Impl::send_fate(LinkId link, const Worker& worker, WorkerFate::Kind kind,
                                  const std::string& reason)
{
  WorkerFate fate{kind, link, worker.id(), reason, {}};
  if (worker.exit) fate.exit = *worker.exit;
  if (kind == WorkerFate::Kind::kExited)
    fate.reason = worker.exit->signal != 0
                      ? absl::StrCat("its process was ended by signal ", worker.exit->signal)
                      : absl::StrCat("its process exited with code ", worker.exit->exit_code);
  if (up_) send(fate);
}

void NodeSession::Impl::forget_old_workers()
{
  std::size_t gone = 0;
  for (auto at = workers_.rbegin(); at != workers_.rend(); ++at)
    if (at->second.exit) ++gone;
  for (auto at = workers_.begin(); gone > kGoneWorkersKept;)
    if (at->second.exit && !at->second.deliver)
    {
      at = workers_.erase(at);
      --gone;
    }
    else if (++at == workers_.end())
      return;
}

void NodeSession::Impl::ask_to_leave(Worker& worker, bool urgent)
{
  worker.leave = LeaveRequest{urgent};
  tell(worker, *worker.leave);
}

void NodeSession::Impl::request_leave(std::int64_t pid, bool urgent)
{
  const std::lock_guard lock(mutex_);
  if (Worker* worker = by_pid(pid); worker != nullptr) ask_to_leave(*worker, urgent);
}

void NodeSession::Impl::request_leave_all(bool urgent)
{
  const std::lock_guard lock(mutex_);
  leave_all_ = LeaveRequest{urgent};
  for (auto& [link, worker] : workers_)
    if (!worker.exit) ask_to_leave(worker, urgent);
}

void NodeSession::Impl::request_restart(std::uint64_t failed_round, const std::string& reason)
{
  const std::lock_guard lock(mutex_);
  if (failed_round < round_) return;  // a newer one has begun
  restart_wanted_ = RestartWanted{failed_round, reason};
  if (up_) send(*restart_wanted_);
}

void NodeSession::Impl::farewell(const NodeFarewell& farewell)
{
  const std::lock_guard lock(mutex_);
  if (up_) send(farewell);
  finished_ = true;
}

std::vector<WorkerView> NodeSession::Impl::workers() const
{
  const std::lock_guard lock(mutex_);
  std::vector<WorkerView> out;
  for (const auto& [link, worker] : workers_)
  {
    if (!worker.hello) continue;
    out.push_back({.link = link,
                   .worker = worker.id(),
                   .slot = worker.hello->slot,
                   .pid = worker.hello->pid,
                   .connected = static_cast<bool>(worker.deliver),
                   .released = worker.released,
                   .first_applied = worker.first_applied,
                   .status = worker.status.status,
                   .telemetry = worker.telemetry});
  }
  return out;
}

NodeId NodeSession::Impl::node() const
{
  const std::lock_guard lock(mutex_);
  return hello_.node;
}

Lineage NodeSession::Impl::lineage() const
{
  const std::lock_guard lock(mutex_);
  return hello_.lineage;
}

NodeSession::NodeSession(NodeHello hello, NodeCallbacks callbacks)
    : impl_(std::make_unique<Impl>(std::move(hello), std::move(callbacks)))
{
}
NodeSession::~NodeSession() = default;
void NodeSession::report_exited(std::int64_t pid, const ExitReport& exit)
{
  impl_->report_exited(pid, exit);
}
void NodeSession::report_silent(std::int64_t pid, const std::string& reason)
{
  impl_->report_silent(pid, reason);
}
void NodeSession::request_leave(std::int64_t pid, bool urgent)
{
  impl_->request_leave(pid, urgent);
}
void NodeSession::request_leave_all(bool urgent)
{
  impl_->request_leave_all(urgent);
}
void NodeSession::request_restart(std::uint64_t failed_round, const std::string& reason)
{
  impl_->request_restart(failed_round, reason);
}
void NodeSession::farewell(const NodeFarewell& farewell)
{
  impl_->farewell(farewell);
}
std::vector<WorkerView> NodeSession::workers() const
{
  return impl_->workers();
}
void NodeSession::wait_for_callbacks(Duration bound)
{
  impl_->wait_for_callbacks(bound);
}
NodeId NodeSession::node() const
{
  return impl_->node();
}
Lineage NodeSession::lineage() const
{
  return impl_->lineage();
}
LinkId NodeSession::open_link(std::function<void(const WorkerOrder&)> deliver)
{
  return impl_->open_link(std::move(deliver));
}
void NodeSession::from_worker(LinkId link, WorkerMessage message)
{
  impl_->from_worker(link, std::move(message));
}
void NodeSession::close_link(LinkId link)
{
  impl_->close_link(link);
}
void NodeSession::uplink_opened(std::function<bool(const NodeMessage&)> send)
{
  impl_->uplink_opened(std::move(send));
}
void NodeSession::uplink_closed(const absl::Status& why)
{
  impl_->uplink_closed(why);
}
void NodeSession::on_order(const NodeOrder& order, MonotonicTime now)
{
  impl_->on_order(order, now);
}
void NodeSession::send_heartbeat(MonotonicTime now)
{
  impl_->send_heartbeat(now);
}
std::optional<MonotonicTime> NodeSession::last_acknowledged() const
{
  return impl_->last_acknowledged();
}
bool NodeSession::finished() const
{
  return impl_->finished();
}

}  // namespace spillway::coordinator
