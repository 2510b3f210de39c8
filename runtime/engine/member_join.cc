// SPDX-License-Identifier: Apache-2.0
// Entering a formed epoch, joining a planned one, copying the base (P2, P7).
#include <algorithm>

#include "member_impl.h"
#include "spillway/base/check.h"

namespace spillway {
namespace {

constexpr std::size_t kMostEarly = 16;

}  // namespace

// The announcement was accepted: the old number is over for good.
void MemberCore::Impl::enter_formed(const EpochAnnouncement& message, MemberListPtr list)
{
  const Number number = message.name.job_epoch;
  open_numbers_.clear();
  status_.switched_from = Number();
  if (message.last_step) status_.last_step = message.last_step;
  if (!list->contains(config_.self))
  {
    branch("epoch.left_out");
    decide("detail 2", absl::StrCat("epoch ", number.value(), " goes on without this member"));
    status_.current = Number();
    members_ = nullptr;
    base_.reset();
    copying_.reset();
    emit(StandAside{number});
    return;
  }
  status_.current = number;
  members_ = list;
  lists_[number] = list;
  base_ = message.base;
  copiers_ = copiers_of(message, *list);
  emit(EnterEpoch{number, list, message.base, copiers_});
  const bool copier = std::binary_search(copiers_.begin(), copiers_.end(), config_.self);
  if (message.initial && !copier && !status_.applied)
  {
    branch("epoch.initial_state");
    status_.applied = message.base;
    emit(AdoptInitialState{message.base});
  }
  if (status_.applied == message.base)
  {
    branch("epoch.as_holder");
    status_.installed = number;
    copying_.reset();
  }
  else if (status_.voted == message.base && status_.applied)
  {
    branch("epoch.roll_forward");
    decide("P2", absl::StrCat("applies ", to_string(message.base), " from its own buckets"));
    applying_ = Applying::kRollForward;
    at_rest_ = false;
    emit(RollForward{message.base});
  }
  else
  {
    branch("epoch.as_copier");
    std::vector<WorkerId> donors;
    for (const MemberInfo& member : list->members())
      if (!std::binary_search(copiers_.begin(), copiers_.end(), member.worker))
        donors.push_back(member.worker);
    start_copying(std::move(donors));
  }
  drop_prepared_up_to(number);
  report_early_fault();
}

std::vector<WorkerId> MemberCore::Impl::copiers_of(const EpochAnnouncement& message,
                                                   const MemberList& list) const
{
  std::vector<WorkerId> listed = message.copiers.workers;
  std::sort(listed.begin(), listed.end());
  if (!message.copiers.lists_holders) return listed;
  std::vector<WorkerId> copiers;
  for (const MemberInfo& member : list.members())
    if (!std::binary_search(listed.begin(), listed.end(), member.worker))
      copiers.push_back(member.worker);
  return copiers;
}

// Who joins at a switch from the current number to `number`: decided now, since it depends on
// the number that is left (P7).
std::vector<WorkerId> MemberCore::Impl::joiners_of(Number number) const
{
  if (!rules_.joiners_decided_at_switch)
  {
    const auto expected = expected_joiners_.find(number);
    return expected == expected_joiners_.end() ? std::vector<WorkerId>() : expected->second;
  }
  std::vector<WorkerId> joiners;
  for (const MemberInfo& member : lists_.at(number)->members())
    if (!members_->contains(member.worker)) joiners.push_back(member.worker);
  return joiners;
}

// Only members that switched send this. A link that was made while this process was still a joiner
// of the number before may bring it to a member, too, ahead of its own control word.
void MemberCore::Impl::on(const BaseNamed& event)
{
  status_.highest_seen = std::max(status_.highest_seen, event.number);
  if (event.number == status_.current)
  {
    branch("base.repeated");
    if (base_ != event.base)
      emit(RuleBroken{absl::StrCat(self(), " hears of bases ", to_string(*base_), " and ",
                                   to_string(event.base), " of ", event.number.value())});
    return;
  }
  const bool too_old = event.number < status_.current || event.number < status_.promised ||
                       event.number <= status_.left || event.number <= status_.installed;
  if (too_old)
  {
    branch("base.too_old");
    return;
  }
  const auto list = lists_.find(event.number);
  if (list == lists_.end() || applying_ != Applying::kNothing)
  {
    // The number itself has not been announced here yet, or its members come before the end of an
    // apply here, after which this member may have been left by the number before it.
    branch(list == lists_.end() ? "base.early" : "base.within_apply");
    if (early_bases_.size() < kMostEarly) early_bases_.try_emplace(event.number, event);
    return;
  }
  if (list->second->contains(config_.self)) join(event);
}

// Bases that came too early for what was known then. Joining forgets those of lower numbers.
void MemberCore::Impl::hear_early_bases()
{
  const std::map<Number, BaseNamed> heard = early_bases_;
  for (const auto& [number, base] : heard)
  {
    if (!early_bases_.contains(number) || !lists_.contains(number)) continue;
    early_bases_.erase(number);
    on(base);
  }
}

void MemberCore::Impl::join(const BaseNamed& event)
{
  // Who belongs to the number that was switched from enters by its own control word: the others
  // have cut the first step's positions with its share (P7).
  if (status_.current && event.switched_from == status_.current && !stopped()) return;
  if (status_.current && !stopped()) stop_current();
  open_numbers_.clear();
  status_.current = event.number;
  status_.switched_from = event.switched_from;
  status_.fault.reset();
  status_.left = status_.done = Number();
  status_.unreachable.clear();
  if (event.last_step) status_.last_step = event.last_step;
  members_ = lists_.at(event.number);
  base_ = event.base;
  copiers_ = {config_.self};
  reset_step();
  emit(JoinNumber{event.number, event.switched_from, members_, event.base});
  decide("P7", absl::StrCat("joins ", event.number.value(), " with base ", to_string(event.base)));
  drop_prepared_up_to(event.number);
  if (status_.applied == event.base)
  {
    status_.installed = event.number;
    copying_.reset();
  }
  else
  {
    branch("join.copies");
    start_copying({event.from});
  }
  report_early_fault();
}

// Ranges already copied count as long as they are of the same state.
void MemberCore::Impl::start_copying(std::vector<WorkerId> donors)
{
  if (copying_ != base_)
  {
    copying_ = base_;
    have_.assign(config_.range_count, false);
  }
  else
    branch("copy.keeps_ranges");
  emit(CopyBase{status_.current, *base_, std::move(donors), have_});
}

void MemberCore::Impl::on(const RangeArrived& event)
{
  const bool wanted = status_.current && !stopped() && status_.installed != status_.current &&
                      applying_ == Applying::kNothing && copying_ && copying_ == base_ &&
                      event.range < have_.size() && !have_[event.range];
  if (!wanted)
  {
    branch("copy.not_wanted");
    return;
  }
  if (event.state != *base_ && rules_.ranges_keyed_by_state_name)
  {
    branch("copy.another_state");
    return;
  }
  // From the first range on the old state is gone, and with it what could be rolled forward.
  if (status_.applied) branch("copy.first_range");
  status_.applied.reset();
  status_.voted.reset();
  status_.installed = Number();
  have_[event.range] = true;
  const bool complete = std::find(have_.begin(), have_.end(), false) == have_.end();
  if (complete)
  {
    branch("copy.complete");
    status_.applied = base_;
    status_.installed = status_.current;
    copying_.reset();
    at_rest_ = true;
  }
  emit(InstallRange{*base_, event.range, complete});
}

}  // namespace spillway
