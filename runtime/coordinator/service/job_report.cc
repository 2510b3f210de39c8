// SPDX-License-Identifier: Apache-2.0
#include <algorithm>

#include "service/job_state.h"

namespace spillway::coordinator {
namespace {

double seconds(Duration span)
{
  return std::chrono::duration<double>(span).count();
}

}  // namespace

JobReport JobState::report(MonotonicTime now) const
{
  JobReport out;
  out.job = job_;
  out.term = term_.value();
  for (const auto& [id, node] : nodes_)
    out.nodes.push_back({.node = id,
                         .host = kept(id).host,
                         .address = kept(id).address,
                         .slots = kept(id).slots,
                         .connected = static_cast<bool>(node.stream),
                         .last_heard_seconds = seconds(now - node.last_heard)});
  if (!core_)
  {
    out.next = "waits: no agent has come";
    return out;
  }
  const MembershipExplanation core = core_->explain(now);
  out.lineage = core.lineage;
  out.epoch = core.epoch;
  out.pending = core.pending;
  out.open_abort = core.open_abort;
  if (core.ended != EndReason::kRunning)
    out.ended = absl::StrCat(end_reason_name(core.ended), ": ", core_->record().end_detail);
  out.waiting_for = core.waiting_for;
  out.next = core.next;
  out.advice = core.advice;
  out.unreachable_pairs = core.unreachable_pairs;
  std::uint32_t rank = 0;
  for (const auto& member : core.members)
  {
    JobReport::Member entry;
    entry.worker = member.info.worker;
    entry.node = member.info.node;
    entry.address = member.info.address;
    entry.in_epoch = member.in_epoch;
    entry.rank = member.in_epoch ? rank++ : 0;
    entry.connected = member.connected;
    entry.silent = member.silent;
    entry.dead = member.dead;
    entry.leaving = member.leaving;
    entry.promised = member.status.promised;
    entry.installed = member.status.installed;
    entry.applied = member.status.applied.value_or(StateName{});
    if (const auto at = places_.find(entry.worker); at != places_.end())
      entry.telemetry = at->second.telemetry;
    out.step = std::max({out.step, entry.applied.step, entry.telemetry.step});
    out.members.push_back(std::move(entry));
  }
  for (const auto& past : core.decisions)
    out.decisions.push_back({seconds(now - past.when), past.decision.rule, past.decision.text});
  return out;
}

}  // namespace spillway::coordinator
