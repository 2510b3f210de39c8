// SPDX-License-Identifier: Apache-2.0
#include "rpc/report_wire.h"

#include "rpc/node_wire.h"
#include "spillway/base/status.h"

namespace spillway::wire {
namespace {

void node_to_wire(const coordinator::JobReport::Node& in, JobReport::Node* out)
{
  const auto& [node, host, address, slots, connected, last_heard_seconds] = in;
  out->set_node(node.value());
  out->set_host(host);
  out->set_address(address);
  out->set_slots(slots);
  out->set_connected(connected);
  out->set_last_heard_seconds(last_heard_seconds);
}

void member_to_wire(const coordinator::JobReport::Member& in, JobReport::Member* out)
{
  const auto& [worker, node, address, rank, in_epoch, connected, silent, dead, leaving, promised,
               installed, applied, telemetry] = in;
  out->set_worker(worker.value());
  out->set_node(node.value());
  out->set_address(address);
  out->set_rank(rank);
  out->set_in_epoch(in_epoch);
  out->set_connected(connected);
  out->set_silent(silent);
  out->set_dead(dead);
  out->set_leaving(leaving);
  out->set_promised(promised.value());
  out->set_installed(installed.value());
  to_wire(applied, out->mutable_applied());
  to_wire(telemetry, out->mutable_telemetry());
}

absl::Status member_from_wire(const JobReport::Member& in, coordinator::JobReport::Member* out)
{
  if (!in.has_applied()) return missing("JobReport.Member.applied");
  if (!in.has_telemetry()) return missing("JobReport.Member.telemetry");
  out->worker = WorkerId(in.worker());
  out->node = NodeId(in.node());
  out->address = in.address();
  out->rank = in.rank();
  out->in_epoch = in.in_epoch();
  out->connected = in.connected();
  out->silent = in.silent();
  out->dead = in.dead();
  out->leaving = in.leaving();
  out->promised = Number(in.promised());
  out->installed = Number(in.installed());
  SPILLWAY_RETURN_IF_ERROR(from_wire(in.applied(), &out->applied));
  return from_wire(in.telemetry(), &out->telemetry);
}

}  // namespace

void to_wire(const coordinator::JobReport& in, JobReport* out)
{
  const auto& [job, lineage, term, epoch, pending, open_abort, step, ended, alarm, nodes, members,
               waiting_for, next, advice, decisions, unreachable_pairs] = in;
  out->set_job(job);
  out->set_lineage(lineage.value());
  out->set_term(term);
  out->set_epoch(epoch.value());
  out->set_pending(pending.value());
  out->set_open_abort(open_abort.value());
  out->set_step(step.value());
  out->set_ended(ended);
  out->set_alarm(alarm);
  for (const auto& node : nodes) node_to_wire(node, out->add_nodes());
  for (const auto& member : members) member_to_wire(member, out->add_members());
  ids_to_wire(waiting_for, out->mutable_waiting_for());
  out->set_next(next);
  for (const std::string& text : advice) out->add_advice(text);
  for (const auto& [seconds_ago, rule, text] : decisions)
  {
    JobReport::PastDecision* past = out->add_decisions();
    past->set_seconds_ago(seconds_ago);
    past->set_rule(rule);
    past->set_text(text);
  }
  for (const auto& [first, second] : unreachable_pairs)
  {
    JobReport::Pair* pair = out->add_unreachable_pairs();
    pair->set_first(first.value());
    pair->set_second(second.value());
  }
}

absl::Status from_wire(const JobReport& in, coordinator::JobReport* out)
{
  *out = {};
  out->job = in.job();
  out->lineage = Lineage(in.lineage());
  out->term = in.term();
  out->epoch = Number(in.epoch());
  out->pending = Number(in.pending());
  out->open_abort = Number(in.open_abort());
  out->step = StepId(in.step());
  out->ended = in.ended();
  out->alarm = in.alarm();
  for (const JobReport::Node& node : in.nodes())
    out->nodes.push_back({NodeId(node.node()), node.host(), node.address(), node.slots(),
                          node.connected(), node.last_heard_seconds()});
  for (const JobReport::Member& member : in.members())
    SPILLWAY_RETURN_IF_ERROR(member_from_wire(member, &out->members.emplace_back()));
  ids_from_wire(in.waiting_for(), &out->waiting_for);
  out->next = in.next();
  out->advice.assign(in.advice().begin(), in.advice().end());
  for (const JobReport::PastDecision& past : in.decisions())
    out->decisions.push_back({past.seconds_ago(), past.rule(), past.text()});
  for (const JobReport::Pair& pair : in.unreachable_pairs())
    out->unreachable_pairs.emplace_back(WorkerId(pair.first()), WorkerId(pair.second()));
  return absl::OkStatus();
}

void to_wire(const coordinator::JobSummary& in, JobSummary* out)
{
  const auto& [job, lineage, epoch, members, ended] = in;
  out->set_job(job);
  out->set_lineage(lineage.value());
  out->set_epoch(epoch.value());
  out->set_members(members);
  out->set_ended(ended);
}

absl::Status from_wire(const JobSummary& in, coordinator::JobSummary* out)
{
  *out = {in.job(), Lineage(in.lineage()), Number(in.epoch()), in.members(), in.ended()};
  return absl::OkStatus();
}

}  // namespace spillway::wire
