// SPDX-License-Identifier: Apache-2.0
// What an operator is told: who is missing, what happens next, why the last decisions were made.
#include "membership_impl.h"

namespace spillway {

MembershipExplanation MembershipCore::Impl::explain(MonotonicTime now) const
{
  MembershipExplanation out;
  out.lineage = record_.lineage;
  out.epoch = record_.newest;
  out.pending = record_.pending;
  out.open_abort = abort_;
  out.ended = record_.ended;
  for (const auto& worker : workers_)
  {
    if (!worker) continue;
    out.members.push_back({.info = worker->info,
                           .in_epoch = worker->in_newest,
                           .connected = worker->connected,
                           .silent = worker->silent,
                           .dead = worker->dead,
                           .leaving = worker->status.wants_to_leave,
                           .status = worker->status});
    if ((worker->classes & kAwaited) != 0) out.waiting_for.push_back(worker->id);
  }
  if (out.waiting_for.empty()) out.waiting_for = waiting_for_;
  out.next = next_in_words(now);
  for (WorkerId worker : out.waiting_for)
    if (const Worker* found = find(worker);
        found != nullptr && !found->connected && out.advice.size() < 8)
      out.advice.push_back(absl::StrCat("if worker ", worker.value(),
                                        " will never come back: spillway abandon ",
                                        worker.value()));
  if (!fenced_.empty())
    out.advice.push_back(absl::StrCat("to go on with what these workers hold: spillway adopt ",
                                      fenced_lineage_.value()));
  out.decisions.assign(decisions_.begin(), decisions_.end());
  for (const auto& [pair, probe] : pairs_) out.unreachable_pairs.push_back(pair);
  return out;
}

std::string MembershipCore::Impl::next_in_words(MonotonicTime now) const
{
  if (record_.ended != EndReason::kRunning)
    return absl::StrCat("nothing: the job is over (", end_reason_name(record_.ended),
                        "): ", record_.end_detail);
  if (abort_ && awaited_count_ > 0)
    return absl::StrCat("waits: ", awaited_count_, " workers have not yet promised ",
                        abort_.value());
  if (!waits_.empty()) return absl::StrCat("waits: ", waits_);
  if (record_.pending)
    return absl::StrCat("number ", record_.pending.value(),
                        " becomes active after the first step for which everybody has prepared it");
  if (computing_ && computing_->told && nobody_hands_in(now))
    return absl::StrCat("waits: ", nobody_in_words(now));
  if (!parting_.empty()) return "leavers are released after the first step without them";
  return absl::StrCat("training goes on in ", record_.newest.value());
}

}  // namespace spillway
