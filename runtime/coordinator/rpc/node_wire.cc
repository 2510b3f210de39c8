// SPDX-License-Identifier: Apache-2.0
// The messages of node_messages.h. Each lambda of the visits stands for one kind; a new kind does
// not compile without its own.
#include "rpc/node_wire.h"

#include "spillway/base/status.h"

namespace spillway::wire {
namespace {

template <typename... Cases>
struct Overloaded : Cases...
{
  using Cases::operator()...;
};
template <typename... Cases>
Overloaded(Cases...) -> Overloaded<Cases...>;

void status_to_wire(const coordinator::StatusUpdate& in, StatusUpdate* out)
{
  const auto& [status, has_members, members] = in;
  to_wire(status, out->mutable_status());
  out->set_has_members(has_members);
  list_to_wire(members, out->mutable_members());
}

absl::Status status_from_wire(const StatusUpdate& in, coordinator::StatusUpdate* out)
{
  if (!in.has_status()) return missing("StatusUpdate.status");
  SPILLWAY_RETURN_IF_ERROR(from_wire(in.status(), &out->status));
  out->has_members = in.has_members();
  return list_from_wire(in.members(), &out->members);
}

absl::Status refusal_from_wire(const Refusal& in, coordinator::Refusal* out)
{
  if (!in.has_status()) return missing("Refusal.status");
  SPILLWAY_RETURN_IF_ERROR(from_wire(in.status(), &out->status));
  if (out->status.ok()) return unknown_value("Refusal.status", 0);
  return absl::OkStatus();
}

void fate_to_wire(const coordinator::WorkerFate& in, WorkerFate* out)
{
  const auto& [kind, link, worker, reason, exit] = in;
  out->set_kind(static_cast<WorkerFate::Kind>(kind));
  out->set_link(link.value());
  out->set_worker(worker.value());
  out->set_reason(reason);
  to_wire(exit, out->mutable_exit());
}

absl::Status fate_from_wire(const WorkerFate& in, coordinator::WorkerFate* out)
{
  using Kind = coordinator::WorkerFate::Kind;
  static_assert(static_cast<int>(Kind::kExited) == WorkerFate::EXITED);
  if (!WorkerFate::Kind_IsValid(in.kind())) return unknown_value("WorkerFate.kind", in.kind());
  if (!in.has_exit()) return missing("WorkerFate.exit");
  out->kind = static_cast<Kind>(in.kind());
  out->link = coordinator::LinkId(in.link());
  out->worker = WorkerId(in.worker());
  out->reason = in.reason();
  return from_wire(in.exit(), &out->exit);
}

absl::Status farewell_from_wire(const NodeFarewell& in, coordinator::NodeFarewell* out)
{
  if (!in.has_exit()) return missing("NodeFarewell.exit");
  out->fatal = in.fatal();
  out->reason = in.reason();
  return from_wire(in.exit(), &out->exit);
}

absl::Status over_from_wire(const JobOver& in, coordinator::JobOver* out)
{
  if (!in.has_exit()) return missing("JobOver.exit");
  SPILLWAY_RETURN_IF_ERROR(from_wire(in.reason(), &out->reason));
  out->detail = in.detail();
  return from_wire(in.exit(), &out->exit);
}

absl::Status orders_from_wire(const ToWorkers& in, coordinator::ToWorkers* out)
{
  if (!in.has_order()) return missing("ToWorkers.order");
  ids_from_wire(in.links(), &out->links);
  return from_wire(in.order(), &out->order);
}

}  // namespace

void to_wire(const coordinator::WorkerMessage& in, WorkerMessage* out)
{
  std::visit(
      Overloaded{
          [&](const coordinator::WorkerHello& hello) { to_wire(hello, out->mutable_hello()); },
          [&](const coordinator::StatusUpdate& s) { status_to_wire(s, out->mutable_status()); },
          [&](const spillway::ProgressReport& p) { to_wire(p, out->mutable_progress()); },
          [&](const spillway::ProbeResult& probe) { to_wire(probe, out->mutable_probe()); },
          [&](const coordinator::Telemetry& t) { to_wire(t, out->mutable_telemetry()); }},
      in);
}

absl::Status from_wire(const WorkerMessage& in, coordinator::WorkerMessage* out)
{
  switch (in.kind_case())
  {
    case WorkerMessage::kHello:
      return from_wire(in.hello(), &out->emplace<coordinator::WorkerHello>());
    case WorkerMessage::kStatus:
      return status_from_wire(in.status(), &out->emplace<coordinator::StatusUpdate>());
    case WorkerMessage::kProgress:
      return from_wire(in.progress(), &out->emplace<spillway::ProgressReport>());
    case WorkerMessage::kProbe:
      return from_wire(in.probe(), &out->emplace<spillway::ProbeResult>());
    case WorkerMessage::kTelemetry:
      return from_wire(in.telemetry(), &out->emplace<coordinator::Telemetry>());
    case WorkerMessage::KIND_NOT_SET:
      break;
  }
  return missing("the kind of a WorkerMessage");
}

void to_wire(const coordinator::WorkerOrder& in, WorkerOrder* out)
{
  std::visit(
      Overloaded{[&](const coordinator::Welcome& w) { to_wire(w, out->mutable_welcome()); },
                 [&](const coordinator::Refusal& refusal) {
                   to_wire(refusal.status, out->mutable_refusal()->mutable_status());
                 },
                 [&](const spillway::ControlMessage& c) { to_wire(c, out->mutable_control()); },
                 [&](const coordinator::Acknowledged& acknowledged) {
                   out->mutable_acknowledged()->set_sent_at_ns(
                       acknowledged.sent_at.time_since_epoch().count());
                 },
                 [&](const coordinator::LinkState& state) {
                   out->mutable_link_state()->set_up(state.up);
                   to_wire(state.why, out->mutable_link_state()->mutable_why());
                 },
                 [&](const coordinator::LeaveRequest& leave) {
                   out->mutable_leave()->set_urgent(leave.urgent);
                 }},
      in);
}

absl::Status from_wire(const WorkerOrder& in, coordinator::WorkerOrder* out)
{
  switch (in.kind_case())
  {
    case WorkerOrder::kWelcome:
      return from_wire(in.welcome(), &out->emplace<coordinator::Welcome>());
    case WorkerOrder::kRefusal:
      return refusal_from_wire(in.refusal(), &out->emplace<coordinator::Refusal>());
    case WorkerOrder::kControl:
      return from_wire(in.control(), &out->emplace<spillway::ControlMessage>());
    case WorkerOrder::kAcknowledged:
      out->emplace<coordinator::Acknowledged>().sent_at =
          MonotonicTime(Duration(in.acknowledged().sent_at_ns()));
      return absl::OkStatus();
    case WorkerOrder::kLinkState: {
      if (!in.link_state().has_why()) return missing("LinkState.why");
      auto& state = out->emplace<coordinator::LinkState>();
      state.up = in.link_state().up();
      return from_wire(in.link_state().why(), &state.why);
    }
    case WorkerOrder::kLeave:
      out->emplace<coordinator::LeaveRequest>().urgent = in.leave().urgent();
      return absl::OkStatus();
    case WorkerOrder::KIND_NOT_SET:
      break;
  }
  return missing("the kind of a WorkerOrder");
}

void to_wire(const coordinator::NodeMessage& in, NodeMessage* out)
{
  std::visit(
      Overloaded{[&](const coordinator::NodeHello& hello) { to_wire(hello, out->mutable_hello()); },
                 [&](const coordinator::Heartbeat& heartbeat) {
                   out->mutable_heartbeat()->set_sequence(heartbeat.sequence);
                 },
                 [&](const coordinator::FromWorker& from) {
                   out->mutable_from_worker()->set_link(from.link.value());
                   to_wire(from.message, out->mutable_from_worker()->mutable_message());
                 },
                 [&](const coordinator::WorkerFate& f) { fate_to_wire(f, out->mutable_fate()); },
                 [&](const coordinator::RestartWanted& restart) {
                   out->mutable_restart()->set_round(restart.round);
                   out->mutable_restart()->set_reason(restart.reason);
                 },
                 [&](const coordinator::NodeFarewell& farewell) {
                   out->mutable_farewell()->set_fatal(farewell.fatal);
                   out->mutable_farewell()->set_reason(farewell.reason);
                   to_wire(farewell.exit, out->mutable_farewell()->mutable_exit());
                 }},
      in);
}

absl::Status from_wire(const NodeMessage& in, coordinator::NodeMessage* out)
{
  switch (in.kind_case())
  {
    case NodeMessage::kHello:
      return from_wire(in.hello(), &out->emplace<coordinator::NodeHello>());
    case NodeMessage::kHeartbeat:
      out->emplace<coordinator::Heartbeat>().sequence = in.heartbeat().sequence();
      return absl::OkStatus();
    case NodeMessage::kFromWorker: {
      if (!in.from_worker().has_message()) return missing("FromWorker.message");
      auto& from = out->emplace<coordinator::FromWorker>();
      from.link = coordinator::LinkId(in.from_worker().link());
      return from_wire(in.from_worker().message(), &from.message);
    }
    case NodeMessage::kFate:
      return fate_from_wire(in.fate(), &out->emplace<coordinator::WorkerFate>());
    case NodeMessage::kRestart:
      *out = coordinator::RestartWanted{in.restart().round(), in.restart().reason()};
      return absl::OkStatus();
    case NodeMessage::kFarewell:
      return farewell_from_wire(in.farewell(), &out->emplace<coordinator::NodeFarewell>());
    case NodeMessage::KIND_NOT_SET:
      break;
  }
  return missing("the kind of a NodeMessage");
}

void to_wire(const coordinator::NodeOrder& in, NodeOrder* out)
{
  std::visit(
      Overloaded{[&](const coordinator::NodeWelcome& w) { to_wire(w, out->mutable_welcome()); },
                 [&](const coordinator::Refusal& refusal) {
                   to_wire(refusal.status, out->mutable_refusal()->mutable_status());
                 },
                 [&](const coordinator::HeartbeatAck& ack) {
                   out->mutable_heartbeat_ack()->set_sequence(ack.sequence);
                 },
                 [&](const coordinator::ToWorkers& to) {
                   ids_to_wire(to.links, out->mutable_to_workers()->mutable_links());
                   to_wire(to.order, out->mutable_to_workers()->mutable_order());
                 },
                 [&](const coordinator::EvictOrder& evict) {
                   out->mutable_evict()->set_link(evict.link.value());
                   out->mutable_evict()->set_worker(evict.worker.value());
                   out->mutable_evict()->set_reason(evict.reason);
                 },
                 [&](const coordinator::Rendezvous& r) { to_wire(r, out->mutable_rendezvous()); },
                 [&](const coordinator::JobOver& over) {
                   out->mutable_job_over()->set_reason(to_wire(over.reason));
                   out->mutable_job_over()->set_detail(over.detail);
                   to_wire(over.exit, out->mutable_job_over()->mutable_exit());
                 }},
      in);
}

absl::Status from_wire(const NodeOrder& in, coordinator::NodeOrder* out)
{
  switch (in.kind_case())
  {
    case NodeOrder::kWelcome:
      return from_wire(in.welcome(), &out->emplace<coordinator::NodeWelcome>());
    case NodeOrder::kRefusal:
      return refusal_from_wire(in.refusal(), &out->emplace<coordinator::Refusal>());
    case NodeOrder::kHeartbeatAck:
      out->emplace<coordinator::HeartbeatAck>().sequence = in.heartbeat_ack().sequence();
      return absl::OkStatus();
    case NodeOrder::kToWorkers:
      return orders_from_wire(in.to_workers(), &out->emplace<coordinator::ToWorkers>());
    case NodeOrder::kEvict:
      *out = coordinator::EvictOrder{coordinator::LinkId(in.evict().link()),
                                     WorkerId(in.evict().worker()), in.evict().reason()};
      return absl::OkStatus();
    case NodeOrder::kRendezvous:
      return from_wire(in.rendezvous(), &out->emplace<coordinator::Rendezvous>());
    case NodeOrder::kJobOver:
      return over_from_wire(in.job_over(), &out->emplace<coordinator::JobOver>());
    case NodeOrder::KIND_NOT_SET:
      break;
  }
  return missing("the kind of a NodeOrder");
}

}  // namespace spillway::wire
