// SPDX-License-Identifier: Apache-2.0
// What the coordinator says: promises, epochs, pending numbers, release (P3, P5, P6).
#include <algorithm>
#include <limits>

#include "member_impl.h"
#include "spillway/base/check.h"

namespace spillway {
namespace {

// Connected groups of numbers above the current one that are kept: each costs memory and links.
constexpr std::size_t kMostPrepared = kMostPublished + 1;
// Lists kept below the current number, so that an announcement may be relative to one of them.
constexpr std::size_t kOldLists = 3;

}  // namespace

void MemberCore::Impl::control(const Abort& message)
{
  const Number number = message.name.job_epoch;
  if (number < status_.promised || number <= status_.current)
  {
    branch("abort.too_old");
    return;
  }
  branch(number == status_.promised ? "abort.repeated" : "abort.promised");
  status_.promised = number;
  answer_again_ = true;
  if (rules_.stopped_is_a_promise) stop_current();
  if (rules_.abort_ends_pending) end_pending(number);
  if (!rules_.keep_reduced_buckets) status_.voted.reset();
}

// Whatever is under way in the current number is void; the reduced buckets of a vote stay.
void MemberCore::Impl::stop_current()
{
  if (status_.current) emit(StopNumber{status_.current});
  if (copying_) emit(StopCopying{});
}

void MemberCore::Impl::control(const EpochAnnouncement& message)
{
  const Number number = message.name.job_epoch;
  const bool broken_promise = rules_.stopped_is_a_promise && number < status_.promised;
  const bool was_left = rules_.left_number_stays_left && number <= status_.left;
  if (broken_promise || number <= status_.current || was_left)
  {
    branch("epoch.too_old");
    return;
  }
  MemberListPtr list = resolve(number, message.members);
  if (list == nullptr) return;
  status_.promised = std::max(status_.promised, number);
  stop_current();
  if (rules_.abort_ends_pending) end_pending(number);
  reset_step();
  status_.fault.reset();
  status_.left = status_.done = Number();
  status_.unreachable.clear();
  enter_formed(message, std::move(list));
}

void MemberCore::Impl::control(const PendingAnnouncement& message)
{
  const Number number = message.name.job_epoch;
  const bool broken_promise = rules_.stopped_is_a_promise && number < status_.promised;
  // Who is in no number may be told of one only after the next one, and even after its base: if it
  // is active its members wait for this joiner, so it is not too old.
  const bool waited_for = !status_.current && number > status_.left && !lists_.contains(number);
  if (broken_promise || number <= status_.current || (number <= pending_ && !waited_for))
  {
    branch("pending.too_old");
    return;
  }
  const MemberListPtr list = resolve(number, message.members);
  if (list == nullptr) return;
  if (number < pending_) branch("pending.waited_for");
  pending_ = std::max(pending_, number);
  lists_[number] = list;
  expected_joiners_[number] = message.expected_joiners;
  status_.unreachable.clear();
  if (list->contains(config_.self))
  {
    branch("pending.prepares");
    preparing_.insert(number);
    emit(Prepare{number, list});
  }
  else
  {
    // Who is left out has nothing to connect.
    branch("pending.leaves_me_out");
    connected_groups_.insert(number);
  }
  hear_early_bases();
}

void MemberCore::Impl::control(const ProbeRequest& message)
{
  emit(ProbePeer{message.name.lineage, message.peer});
}

void MemberCore::Impl::control(const Release& message)
{
  branch("exit.released");
  decide("P6", absl::StrCat("released: ", end_reason_name(message.reason)));
  exited_ = true;
  emit(Exit{message.reason, message.detail});
}

// The announced list, or nullptr after asking for the whole of it.
MemberListPtr MemberCore::Impl::resolve(Number number, const MemberListUpdate& update)
{
  const auto from = lists_.find(update.relative_to);
  auto list = apply_update(from == lists_.end() ? nullptr : from->second.get(), update);
  if (list.ok())
  {
    if (status_.wants_list <= number) status_.wants_list = Number();
    return *std::move(list);
  }
  branch("list.unknown");
  decide("P17", absl::StrCat("asks for the whole list of ", number.value(), ": ",
                             list.status().message()));
  status_.wants_list = number;
  answer_again_ = true;
  return nullptr;
}

// Ends the pending numbers below `number`; a late message leaves higher ones alone.
void MemberCore::Impl::end_pending(Number number)
{
  if (!rules_.late_end_spares_higher_pending)
    number = Number(std::numeric_limits<Number::value_type>::max());
  if (pending_ && pending_ < number) pending_ = Number();
  if (prepared_ < number) prepared_ = Number();
  if (pending_) branch("pending.kept_by_late_abort");
  drop_prepared_up_to(number);
}

// Forgets groups of numbers up to `number` that never became current, and old lists.
void MemberCore::Impl::drop_prepared_up_to(Number number)
{
  std::erase_if(prepared_set_, [&](Number n) { return n <= number; });
  for (Number n : preparing_)
    if (n <= number && n != status_.current) emit(DropPrepared{n});
  std::erase_if(preparing_, [&](Number n) { return n <= number; });
  std::erase_if(connected_groups_, [&](Number n) { return n <= number; });
  std::erase_if(early_bases_, [&](const auto& item) { return item.first <= number; });
  std::erase_if(expected_joiners_, [&](const auto& item) { return item.first <= number; });
  std::erase_if(lists_, [&](const auto& item) {
    return item.first <= number && item.first > status_.current;
  });
  while (std::distance(lists_.begin(), lists_.lower_bound(status_.current)) >
         static_cast<std::ptrdiff_t>(kOldLists))
    lists_.erase(lists_.begin());
}

// Takes the newest pending number as prepared once its group stands and no promise forbids it.
void MemberCore::Impl::try_prepare()
{
  const bool stopped_member = status_.current && stopped();
  if (!pending_ || pending_ <= prepared_ || pending_ <= status_.current ||
      status_.promised > pending_ || stopped_member || !connected_groups_.contains(pending_))
    return;
  branch("prepare.done");
  prepared_ = pending_;
  status_.unreachable.clear();
  if (!rules_.named_number_stays_prepared) prepared_set_.clear();
  prepared_set_.push_back(pending_);
  // Withdrawn numbers may still become current; the oldest that no vote names goes first.
  while (prepared_set_.size() > kMostPrepared)
  {
    const std::size_t oldest = prepared_set_.front() == vote_named_ ? 1 : 0;
    const Number number = prepared_set_[oldest];
    prepared_set_.erase(prepared_set_.begin() + static_cast<std::ptrdiff_t>(oldest));
    connected_groups_.erase(number);
    if (preparing_.erase(number) > 0) emit(DropPrepared{number});
  }
}

}  // namespace spillway
