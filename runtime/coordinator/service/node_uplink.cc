// SPDX-License-Identifier: Apache-2.0
// The coordinator's side of an agent's session: what a coordinator must hear when it comes (back),
// and where its orders go.
#include "service/node_session_impl.h"
#include "spillway/base/log.h"

namespace spillway::coordinator {
namespace {

// Unanswered heartbeats that are remembered; a coordinator that is further behind is away.
constexpr std::size_t kHeartbeatsKept = 1024;

}  // namespace

bool NodeSession::Impl::send(const NodeMessage& message)
{
  if (uplink_ && uplink_(message)) return true;
  // The owner of the stream will say uplink_closed(); until then nothing more fits.
  uplink_ = nullptr;
  return false;
}

void NodeSession::Impl::uplink_opened(std::function<bool(const NodeMessage&)> send_to)
{
  const std::lock_guard lock(mutex_);
  uplink_ = std::move(send_to);
  up_ = false;
  heartbeats_.clear();
  send(hello_);
}

void NodeSession::Impl::uplink_closed(const absl::Status& why)
{
  const std::lock_guard lock(mutex_);
  uplink_ = nullptr;
  heartbeats_.clear();
  if (over_ || finished_) return;
  const bool was_up = std::exchange(up_, false);
  if (was_up) set_up(false, absl::UnavailableError(why.message()));
}

void NodeSession::Impl::set_up(bool up, const absl::Status& why)
{
  for (auto& [link, worker] : workers_)
    if (worker.welcome) tell(worker, LinkState{up, why});
  if (callbacks_.on_connection) call([=, this] { callbacks_.on_connection(up, why); });
}

void NodeSession::Impl::send_heartbeat(MonotonicTime now)
{
  const std::lock_guard lock(mutex_);
  if (!up_ || !uplink_) return;
  heartbeats_.emplace_back(++last_heartbeat_, now);
  if (heartbeats_.size() > kHeartbeatsKept) heartbeats_.pop_front();
  send(Heartbeat{last_heartbeat_});
}

std::optional<MonotonicTime> NodeSession::Impl::last_acknowledged() const
{
  const std::lock_guard lock(mutex_);
  return acknowledged_;
}

bool NodeSession::Impl::finished() const
{
  const std::lock_guard lock(mutex_);
  return finished_;
}

void NodeSession::Impl::on_order(const NodeOrder& order, MonotonicTime now)
{
  const std::lock_guard lock(mutex_);
  std::visit([&](const auto& o) { on(o, now); }, order);
}

void NodeSession::Impl::on(const NodeWelcome& welcome, MonotonicTime)
{
  hello_.node = welcome.node;
  if (welcome.lineage) hello_.lineage = welcome.lineage;
  up_ = true;
  if (callbacks_.on_welcome) call([=, this] { callbacks_.on_welcome(welcome); });
  replay();
  set_up(true, absl::OkStatus());
}

// Everything that a coordinator which knows only its record needs from this node.
void NodeSession::Impl::replay()
{
  for (const auto& [link, worker] : workers_)
  {
    if (!worker.hello || worker.refused) continue;
    if (worker.exit)
    {
      send_fate(link, worker, WorkerFate::Kind::kExited, "");
      continue;
    }
    // Who will be killed is no candidate for a number, and must not be taken for one.
    if (worker.silent)
      send_fate(link, worker, WorkerFate::Kind::kSilent, worker.silent_reason);
    else if (worker.deliver)
      send(FromWorker{link, greeting(worker)});
  }
  if (restart_wanted_) send(*restart_wanted_);
}

void NodeSession::Impl::on(const Refusal& refusal, MonotonicTime)
{
  finished_ = true;
  over_ = refusal.status;
  for (auto& [link, worker] : workers_) tell(worker, LinkState{false, refusal.status});
  if (callbacks_.on_connection)
    call([=, this] { callbacks_.on_connection(false, refusal.status); });
}

void NodeSession::Impl::on(const HeartbeatAck& ack, MonotonicTime)
{
  std::optional<MonotonicTime> sent_at;
  while (!heartbeats_.empty() && heartbeats_.front().first <= ack.sequence)
  {
    if (heartbeats_.front().first == ack.sequence) sent_at = heartbeats_.front().second;
    heartbeats_.pop_front();
  }
  if (!sent_at) return;
  acknowledged_ = *sent_at;
  for (auto& [link, worker] : workers_)
    if (worker.welcome && !worker.silent && !worker.exit) tell(worker, Acknowledged{*sent_at});
}

void NodeSession::Impl::on(const ToWorkers& to, MonotonicTime)
{
  for (LinkId link : to.links)
    if (const auto at = workers_.find(link); at != workers_.end())
      on_worker_order(link, at->second, to.order);
}

void NodeSession::Impl::on_worker_order(LinkId link, Worker& worker, const WorkerOrder& order)
{
  if (const auto* refusal = std::get_if<Refusal>(&order))
    return refuse(link, worker, refusal->status);
  if (const auto* welcome = std::get_if<Welcome>(&order))
  {
    if (worker.welcome) return;  // said again by a coordinator that came back
    worker.welcome = *welcome;
    if (!hello_.lineage) hello_.lineage = welcome->lineage;
    tell(worker, order);
    tell(worker, LinkState{true, absl::OkStatus()});
    if (acknowledged_) tell(worker, Acknowledged{*acknowledged_});
    if (callbacks_.on_worker_welcomed)
      call([=, this, copy = *welcome] { callbacks_.on_worker_welcomed(link, copy); });
    return;
  }
  if (const auto* message = std::get_if<ControlMessage>(&order))
    if (const auto* release = std::get_if<Release>(message); release != nullptr && !worker.released)
    {
      worker.released = true;
      if (callbacks_.on_worker_released)
        call([this, link, id = worker.id(), reason = release->reason] {
          callbacks_.on_worker_released(link, id, reason);
        });
    }
  tell(worker, order);
}

void NodeSession::Impl::on(const EvictOrder& evict, MonotonicTime)
{
  const auto at = workers_.find(evict.link);
  if (at == workers_.end() || at->second.exit || !at->second.hello) return;
  at->second.silent = true;
  at->second.silent_reason = evict.reason;
  if (callbacks_.on_evict)
    call([=, this, pid = at->second.hello->pid] {
      callbacks_.on_evict(evict.link, evict.worker, pid, evict.reason);
    });
}

void NodeSession::Impl::on(const Rendezvous& round, MonotonicTime)
{
  if (round.round <= round_) return;
  round_ = round.round;
  if (restart_wanted_ && restart_wanted_->round < round.round) restart_wanted_.reset();
  if (callbacks_.on_rendezvous) call([=, this] { callbacks_.on_rendezvous(round); });
}

void NodeSession::Impl::on(const JobOver& over, MonotonicTime)
{
  finished_ = true;
  over_ = absl::FailedPreconditionError(absl::StrCat(
      "job ", hello_.job, " is over (", end_reason_name(over.reason), "): ", over.detail));
  for (auto& [link, worker] : workers_)
    if (worker.hello && !worker.welcome && !worker.refused) refuse(link, worker, *over_);
  if (callbacks_.on_job_over) call([=, this] { callbacks_.on_job_over(over); });
}

}  // namespace spillway::coordinator
