// SPDX-License-Identifier: Apache-2.0
// Reduce, vote, apply, switch (P1, P4, P5, P6).
#include <algorithm>

#include "member_impl.h"
#include "spillway/base/check.h"

namespace spillway {

// The step that this member works on: after its own state, or after the base while it copies.
StepId MemberCore::Impl::target() const
{
  return status_.installed == status_.current ? status_.applied->step.next() : base_->step.next();
}

StepName MemberCore::Impl::step_name(StepId step) const
{
  return {.lineage = status_.lineage,
          .job_epoch = status_.current,
          .round = RoundId(step.value()),
          .site_epoch = status_.current,
          .step = step};
}

void MemberCore::Impl::reset_step()
{
  begun_ = voted_step_ = StepId();
  vote_named_ = Number();
  reduced_ = false;
  word_.reset();
}

// Does everything that has become possible. Called after every event.
void MemberCore::Impl::advance(MonotonicTime now)
{
  if (applying_ != Applying::kNothing) return;
  try_prepare();
  if (!status_.current || stopped() || status_.done || !base_) return;
  if (try_begin()) return;
  if (rules_.apply_only_after_word)
  {
    if (!try_apply(now) && try_vote(now)) try_apply(now);
  }
  else
  {
    try_vote(now);
    try_apply(now);
  }
}

bool MemberCore::Impl::try_begin()
{
  const StepId step = target();
  if (begun_ >= step || (status_.last_step && step > status_.last_step.next())) return false;
  const bool first = step == base_->step.next();
  const bool copier = first && std::binary_search(copiers_.begin(), copiers_.end(), config_.self);
  const bool zeros = copier && rules_.joiner_contributes_zeros;
  // A copier's first step needs no loop, which has no state to compute with.
  if (!zeros && !loop_ready_) return false;
  BeginStep begin{.name = step_name(step),
                  .contributes_zeros = zeros,
                  .control_only = control_only(step),
                  .first_of_number = first,
                  .members = members_,
                  .copiers = {}};
  if (first && rules_.joiner_contributes_zeros) begin.copiers = copiers_;
  branch(begin.control_only ? "begin.control_only"
         : zeros            ? "begin.copier"
         : first            ? "begin.first"
                            : "begin.loop");
  if (!zeros) loop_ready_ = false;
  begun_ = step;
  voted_step_ = StepId();
  vote_named_ = Number();
  word_.reset();
  reduced_ = begin.control_only;
  // The buckets of the last vote were kept until now (P1); a copier may still roll forward.
  if (status_.installed == status_.current) status_.voted.reset();
  const bool votes_at_once = begin.control_only;
  emit(std::move(begin));
  return !votes_at_once;
}

void MemberCore::Impl::on(const BucketsReduced& event)
{
  const bool ours = event.number == status_.current || !rules_.fenced_by_number;
  if (ours && event.step == begun_) reduced_ = true;
}

// P4: checked before each vote and each apply.
bool MemberCore::Impl::lease_allows(const char* what, StepId step, MonotonicTime now)
{
  if (!holds_for_lease(now))
  {
    holding_ = false;
    return true;
  }
  branch("lease.holds");
  if (!std::exchange(holding_, true))
    decide("P4", absl::StrCat("holds before ", what, " step ", step.value(),
                              ": no coordinator was heard within the lease"));
  return false;
}

bool MemberCore::Impl::try_vote(MonotonicTime now)
{
  const StepId step = begun_;
  if (!step || voted_step_ == step || step != target() || !reduced_) return false;
  if (status_.installed != status_.current && rules_.joiner_votes_with_whole_copy)
  {
    branch("vote.waits_for_copy");
    return false;
  }
  if (!lease_allows("its vote for", step, now)) return false;
  voted_step_ = step;
  vote_named_ = prepared_ > status_.current ? prepared_ : Number();
  if (!control_only(step)) status_.voted = StateName{status_.current, step};
  branch(vote_named_ ? "vote.names_pending" : "vote.cast");
  emit(CastVote{step_name(step), vote_named_});
  return true;
}

void MemberCore::Impl::on(const WordComplete& event)
{
  const bool ours = event.number == status_.current || !rules_.fenced_by_number;
  if (!ours || event.step != begun_ || event.step != voted_step_) return;
  word_ = Word{event.min_prepared, event.max_prepared};
}

bool MemberCore::Impl::try_apply(MonotonicTime now)
{
  const StepId step = begun_;
  if (!step || step != target()) return false;
  const bool has_base =
      status_.installed == status_.current || !rules_.joiner_votes_with_whole_copy;
  const bool word = voted_step_ == step && word_;
  const bool early = !rules_.apply_only_after_word && reduced_ && !control_only(step) &&
                     status_.installed == status_.current;
  if (!has_base || (!word && !early)) return false;
  if (!lease_allows("applying", step, now)) return false;
  if (control_only(step))
  {
    branch("job.last_word");
    status_.done = status_.first_word = status_.current;
    emit(Finished{status_.current});
    return true;
  }
  branch("apply.step");
  applying_ = Applying::kStep;
  at_rest_ = false;
  status_.voted = StateName{status_.current, step};
  emit(Apply{step_name(step), *status_.voted});
  return true;
}

void MemberCore::Impl::on(const Applied& event)
{
  if (applying_ == Applying::kNothing) return;
  const Applying what = std::exchange(applying_, Applying::kNothing);
  at_rest_ = loop_ready_;
  if (!event.ok)
  {
    branch("apply.failed");
    // Others may have applied it: that there was a word must not be forgotten with the state (P2).
    if (what == Applying::kStep) status_.first_word = status_.current;
    decide("P15", "the apply failed: this member has no state and will copy");
    status_.applied.reset();
    status_.voted.reset();
    status_.installed = Number();
    reset_step();
    begun_ = StepId(~std::uint64_t{0});  // begins nothing more in this number
    if (!status_.fault) status_.fault = LinkFault{status_.current, config_.self};
    return;
  }
  if (what == Applying::kStep) return applied_step(event.state);
  branch("apply.roll_forward");
  status_.applied = event.state;
  status_.installed = status_.current;
}

void MemberCore::Impl::applied_step(StateName state)
{
  status_.applied = state;
  status_.installed = status_.current;
  const std::optional<Word> word = std::exchange(word_, std::nullopt);
  reduced_ = false;
  if (status_.first_word != status_.current)
  {
    status_.first_word = status_.current;
    if (rules_.old_transport_until_first_word) close_old_numbers();
  }
  const Number next = word ? number_to_switch_to(*word) : Number();
  voted_step_ = StepId();
  vote_named_ = Number();
  if (next) switch_to(next);
}

// Everybody is past the old numbers: their transport may go, except towards who leaves.
void MemberCore::Impl::close_old_numbers()
{
  for (const auto& [number, list] : open_numbers_)
  {
    if (number >= status_.current) continue;
    branch("old_numbers.closed");
    CloseNumber close{number, {}};
    if (rules_.leaver_errors_are_no_faults)
      for (const MemberInfo& member : list->members())
        if (!members_->contains(member.worker)) close.keep.push_back(member.worker);
    emit(std::move(close));
  }
  std::erase_if(open_numbers_, [this](const auto& n) { return n.first < status_.current; });
}

Number MemberCore::Impl::number_to_switch_to(const Word& word)
{
  const Number low = word.min_prepared;
  if (!rules_.switch_needs_equal_min_and_max) return low > status_.current ? prepared_ : Number();
  if (low != word.max_prepared || low <= status_.current)
  {
    if (low != word.max_prepared) branch("switch.no");
    return {};
  }
  if (!rules_.switch_to_the_number_in_the_word && low != pending_) return {};
  if (std::find(prepared_set_.begin(), prepared_set_.end(), low) == prepared_set_.end())
  {
    emit(RuleBroken{absl::StrCat(self(), " must switch to ", low.value(),
                                 ", which it has not prepared or has dropped")});
    return {};
  }
  return low > status_.promised ? low : Number();
}

void MemberCore::Impl::switch_to(Number number)
{
  const auto found = lists_.find(number);
  if (found == lists_.end())
  {
    emit(RuleBroken{absl::StrCat(self(), " must switch to ", number.value(), ", unknown to it")});
    return;
  }
  const MemberListPtr list = found->second;
  const Number old = status_.current;
  const std::vector<WorkerId> joiners = joiners_of(number);
  open_numbers_[old] = members_;
  status_.fault.reset();
  reset_step();
  if (!list->contains(config_.self))
  {
    branch("switch.leaves");
    decide("P6", absl::StrCat("left by ", number.value(), ": stays until released"));
    status_.left = number;
    status_.current = Number();
    members_ = nullptr;
    base_.reset();
    drop_prepared_up_to(number);
    emit(LeaveNumber{old});
    if (!rules_.leavers_wait_for_release)
    {
      exited_ = true;
      emit(Exit{EndReason::kReleased, "left without waiting"});
    }
    return hear_early_bases();
  }
  branch("switch.yes");
  decide("P5", absl::StrCat("switches from ", old.value(), " to ", number.value(), " after ",
                            to_string(*status_.applied)));
  status_.current = status_.installed = number;
  status_.switched_from = old;
  members_ = list;
  base_ = status_.applied;
  copiers_ = joiners;
  emit(SwitchTo{number, old, list, *base_, joiners, status_.last_step});
  drop_prepared_up_to(number);
  if (!rules_.old_transport_until_first_word) close_old_numbers();
  report_early_fault();
}

}  // namespace spillway
