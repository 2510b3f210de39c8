// SPDX-License-Identifier: Apache-2.0
#include "rpc/membership_wire.h"

#include "absl/strings/str_cat.h"
#include "spillway/base/status.h"

// The structured bindings fail to compile when a message has got a field that is not sent.
namespace spillway::wire {

absl::Status missing(const char* what)
{
  return absl::InvalidArgumentError(
      absl::StrCat("a message came without ", what, "; is the sender of another version?"));
}

absl::Status unknown_value(const char* what, int value)
{
  return absl::InvalidArgumentError(absl::StrCat("a message has the unknown value ", value, " for ",
                                                 what, "; is the sender of another version?"));
}

EndReason to_wire(spillway::EndReason in)
{
  return static_cast<EndReason>(in);
}

absl::Status from_wire(EndReason in, spillway::EndReason* out)
{
  static_assert(static_cast<int>(spillway::EndReason::kStopped) == END_REASON_STOPPED);
  if (!EndReason_IsValid(in)) return unknown_value("EndReason", in);
  *out = static_cast<spillway::EndReason>(in);
  return absl::OkStatus();
}

void to_wire(const spillway::MemberInfo& in, MemberInfo* out)
{
  const auto& [worker, node, site, address, weight] = in;
  out->set_worker(worker.value());
  out->set_node(node.value());
  out->set_site(site.value());
  out->set_address(address);
  out->set_weight(weight);
}

absl::Status from_wire(const MemberInfo& in, spillway::MemberInfo* out)
{
  *out = {WorkerId(in.worker()), NodeId(in.node()), SiteId(in.site()), in.address(), in.weight()};
  return absl::OkStatus();
}

void to_wire(const spillway::MemberListUpdate& in, MemberListUpdate* out)
{
  const auto& [relative_to, added, removed, hash] = in;
  out->set_relative_to(relative_to.value());
  list_to_wire(added, out->mutable_added());
  ids_to_wire(removed, out->mutable_removed());
  out->mutable_hash()->set_low(hash.low);
  out->mutable_hash()->set_high(hash.high);
}

absl::Status from_wire(const MemberListUpdate& in, spillway::MemberListUpdate* out)
{
  if (!in.has_hash()) return missing("MemberListUpdate.hash");
  out->relative_to = Number(in.relative_to());
  SPILLWAY_RETURN_IF_ERROR(list_from_wire(in.added(), &out->added));
  ids_from_wire(in.removed(), &out->removed);
  out->hash = {in.hash().low(), in.hash().high()};
  return absl::OkStatus();
}

void to_wire(const spillway::EpochName& in, EpochName* out)
{
  const auto& [lineage, job_epoch, site_epoch] = in;
  out->set_lineage(lineage.value());
  out->set_job_epoch(job_epoch.value());
  out->set_site_epoch(site_epoch.value());
}

absl::Status from_wire(const EpochName& in, spillway::EpochName* out)
{
  *out = {Lineage(in.lineage()), Number(in.job_epoch()), Number(in.site_epoch())};
  return absl::OkStatus();
}

void to_wire(const spillway::StateName& in, StateName* out)
{
  const auto& [number, step] = in;
  out->set_number(number.value());
  out->set_step(step.value());
}

absl::Status from_wire(const StateName& in, spillway::StateName* out)
{
  *out = {Number(in.number()), StepId(in.step())};
  return absl::OkStatus();
}

void to_wire(const spillway::LinkFault& in, LinkFault* out)
{
  const auto& [number, peer] = in;
  out->set_number(number.value());
  out->set_peer(peer.value());
}

absl::Status from_wire(const LinkFault& in, spillway::LinkFault* out)
{
  *out = {Number(in.number()), WorkerId(in.peer())};
  return absl::OkStatus();
}

void to_wire(const spillway::MemberStatus& in, MemberStatus* out)
{
  const auto& [lineage, promised, installed, current, switched_from, applied, voted, fault,
               first_word, done, left, wants_to_leave, leave_is_urgent, unreachable, wants_list,
               last_step, highest_seen] = in;
  out->set_lineage(lineage.value());
  out->set_promised(promised.value());
  out->set_installed(installed.value());
  out->set_current(current.value());
  out->set_switched_from(switched_from.value());
  if (applied) to_wire(*applied, out->mutable_applied());
  if (voted) to_wire(*voted, out->mutable_voted());
  if (fault) to_wire(*fault, out->mutable_fault());
  out->set_first_word(first_word.value());
  out->set_done(done.value());
  out->set_left(left.value());
  out->set_wants_to_leave(wants_to_leave);
  out->set_leave_is_urgent(leave_is_urgent);
  ids_to_wire(unreachable, out->mutable_unreachable());
  out->set_wants_list(wants_list.value());
  out->set_last_step(last_step.value());
  out->set_highest_seen(highest_seen.value());
}

absl::Status from_wire(const MemberStatus& in, spillway::MemberStatus* out)
{
  *out = {};
  out->lineage = Lineage(in.lineage());
  out->promised = Number(in.promised());
  out->installed = Number(in.installed());
  out->current = Number(in.current());
  out->switched_from = Number(in.switched_from());
  if (in.has_applied()) SPILLWAY_RETURN_IF_ERROR(from_wire(in.applied(), &out->applied.emplace()));
  if (in.has_voted()) SPILLWAY_RETURN_IF_ERROR(from_wire(in.voted(), &out->voted.emplace()));
  if (in.has_fault()) SPILLWAY_RETURN_IF_ERROR(from_wire(in.fault(), &out->fault.emplace()));
  out->first_word = Number(in.first_word());
  out->done = Number(in.done());
  out->left = Number(in.left());
  out->wants_to_leave = in.wants_to_leave();
  out->leave_is_urgent = in.leave_is_urgent();
  ids_from_wire(in.unreachable(), &out->unreachable);
  out->wants_list = Number(in.wants_list());
  out->last_step = StepId(in.last_step());
  out->highest_seen = Number(in.highest_seen());
  return absl::OkStatus();
}

void to_wire(const spillway::ProbeResult& in, ProbeResult* out)
{
  const auto& [name, peer, reachable] = in;
  to_wire(name, out->mutable_name());
  out->set_peer(peer.value());
  out->set_reachable(reachable);
}

absl::Status from_wire(const ProbeResult& in, spillway::ProbeResult* out)
{
  if (!in.has_name()) return missing("ProbeResult.name");
  out->peer = WorkerId(in.peer());
  out->reachable = in.reachable();
  return from_wire(in.name(), &out->name);
}

void to_wire(const spillway::ProgressReport& in, ProgressReport* out)
{
  const auto& [name, step, phase, p99_step, lasts, busy_limit] = in;
  to_wire(name, out->mutable_name());
  out->set_step(step.value());
  out->set_phase(static_cast<ProgressReport::Phase>(phase));
  out->set_p99_step_ns(p99_step.count());
  out->set_lasts_ns(lasts.count());
  out->set_busy_limit_ns(busy_limit.count());
}

absl::Status from_wire(const ProgressReport& in, spillway::ProgressReport* out)
{
  using Phase = spillway::ProgressReport::Phase;
  static_assert(static_cast<int>(Phase::kHandedInZeros) == ProgressReport::HANDED_IN_ZEROS);
  if (!ProgressReport::Phase_IsValid(in.phase()))
    return unknown_value("ProgressReport.phase", in.phase());
  if (!in.has_name()) return missing("ProgressReport.name");
  out->step = StepId(in.step());
  out->phase = static_cast<Phase>(in.phase());
  out->p99_step = Duration(in.p99_step_ns());
  out->lasts = Duration(in.lasts_ns());
  out->busy_limit = Duration(in.busy_limit_ns());
  return from_wire(in.name(), &out->name);
}

}  // namespace spillway::wire
