// SPDX-License-Identifier: Apache-2.0
// The workers' side of an agent's session: their links, and the newest of what each has said.
#include "service/node_session_impl.h"

namespace spillway::coordinator {

LinkId NodeSession::Impl::open_link(std::function<void(const WorkerOrder&)> deliver)
{
  const std::lock_guard lock(mutex_);
  last_link_ = last_link_.next();
  workers_[last_link_].deliver = std::move(deliver);
  return last_link_;
}

void NodeSession::Impl::tell(Worker& worker, const WorkerOrder& order)
{
  if (worker.deliver) worker.deliver(order);
}

void NodeSession::Impl::refuse(LinkId link, Worker& worker, const absl::Status& why)
{
  worker.refused = true;
  tell(worker, Refusal{why});
  if (callbacks_.on_worker_refused) call([=, this] { callbacks_.on_worker_refused(link, why); });
}

void NodeSession::Impl::from_worker(LinkId link, WorkerMessage message)
{
  const std::lock_guard lock(mutex_);
  const auto at = workers_.find(link);
  if (at == workers_.end() || !at->second.deliver) return;
  Worker& worker = at->second;
  if (auto* hello = std::get_if<WorkerHello>(&message))
    return on_hello(link, worker, std::move(*hello));
  if (!worker.hello || worker.refused || worker.exit) return;
  if (worker.silent) return;  // what it says now counts no more: it will be killed
  if (auto* update = std::get_if<StatusUpdate>(&message))
    return on_status(link, worker, std::move(*update));
  if (const auto* telemetry = std::get_if<Telemetry>(&message)) worker.telemetry = *telemetry;
  if (up_ && worker.welcome) send(FromWorker{link, std::move(message)});
}

void NodeSession::Impl::on_hello(LinkId link, Worker& worker, WorkerHello hello)
{
  hello.node = hello_.node;
  const bool first = !worker.hello;
  if (const Worker* before = by_pid(hello.pid); first && before != nullptr && before->silent)
  {
    worker.silent = true;
    worker.silent_reason = before->silent_reason;
  }
  worker.hello = std::move(hello);
  if (first && callbacks_.on_worker_registered)
    call([=, this, said = *worker.hello] { callbacks_.on_worker_registered(link, said); });
  if (over_) return refuse(link, worker, *over_);
  if (worker.silent) return;  // it has linked itself anew before it is killed
  if (worker.welcome) return tell(worker, *worker.welcome);  // it asked again: it missed it
  if (first && leave_all_) ask_to_leave(worker, leave_all_->urgent);
  if (up_) send(FromWorker{link, greeting(worker)});
}

// What a coordinator must hear to know everything about this worker.
WorkerHello NodeSession::Impl::greeting(const Worker& worker) const
{
  WorkerHello hello = *worker.hello;
  hello.node = hello_.node;
  if (worker.welcome)
  {
    hello.worker = worker.welcome->worker;
    hello.lineage = worker.welcome->lineage;
  }
  if (worker.has_status)
  {
    hello.status = worker.status.status;
    hello.members = worker.status.members;
  }
  if (hello.worker && !hello.status.lineage) hello.status.lineage = hello.lineage;
  return hello;
}

void NodeSession::Impl::on_status(LinkId link, Worker& worker, StatusUpdate update)
{
  worker.status.status = update.status;
  if (update.has_members) worker.status.members = update.members;
  worker.has_status = true;
  // The whole first control word is there, so its step is being applied.
  if (!worker.first_applied && update.status.first_word && update.status.applied)
  {
    worker.first_applied = update.status.applied->step;
    if (callbacks_.on_worker_first_applied)
      call([=, this, id = worker.id()] { callbacks_.on_worker_first_applied(link, id); });
  }
  if (up_ && worker.welcome) send(FromWorker{link, std::move(update)});
}

void NodeSession::Impl::close_link(LinkId link)
{
  const std::lock_guard lock(mutex_);
  const auto at = workers_.find(link);
  if (at == workers_.end() || !at->second.deliver) return;
  Worker& worker = at->second;
  worker.deliver = nullptr;
  if (!worker.hello || worker.refused)
  {
    workers_.erase(at);
    return;
  }
  if (!worker.exit) send_fate(link, worker, WorkerFate::Kind::kDisconnected, "its link is closed");
  if (callbacks_.on_worker_disconnected)
    call([=, this, id = worker.id()] { callbacks_.on_worker_disconnected(link, id); });
}

}  // namespace spillway::coordinator
