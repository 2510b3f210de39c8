// SPDX-License-Identifier: Apache-2.0
// The groups of a process, and the copy of a base.
#include <algorithm>

#include "process.h"
#include "spillway/base/hash.h"
#include "world.h"

namespace spillway::sim {
namespace {

// A peer that is there but does not talk is reported after so many attempts.
constexpr int kPatience = 40;

}  // namespace

std::set<Number> Process::group_numbers() const
{
  std::set<Number> numbers;
  for (const auto& [number, group] : groups_) numbers.insert(number);
  return numbers;
}

bool Process::knows_peer(Number number, int peer) const
{
  const auto at = groups_.find(number);
  return at != groups_.end() && at->second.members != nullptr &&
         at->second.members->contains(world_.process(peer).worker());
}

bool Process::talks_in(Number number) const
{
  const auto at = groups_.find(number);
  return at != groups_.end() && at->second.members != nullptr;
}

bool Process::has_prepared(Number number) const
{
  const auto at = groups_.find(number);
  return at != groups_.end() && at->second.told_prepared;
}

// Rarely a peer's listener answers for a number before the peer has been told of it. Only where it
// will be told for certain: otherwise preparing means that it has been (detail 6).
bool Process::hears_early(const Process& peer)
{
  return world_.setup().kind == Setup::Kind::kQuiet && peer.core() != nullptr &&
         world_.rng().chance(0.05);
}

void Process::try_connect_group(Number number)
{
  const auto at = groups_.find(number);
  if (at == groups_.end() || at->second.members == nullptr || at->second.told_prepared ||
      core_->current() >= number)
    return;
  Group& group = at->second;
  ++group.attempts;
  bool all = true;
  std::vector<WorkerId> unreachable;
  for (const MemberInfo& member : group.members->members())
  {
    if (member.worker == worker_) continue;
    const int peer = world_.index_of(member.worker);
    const Process& other = world_.process(peer);
    if (!other.alive() || !world_.network().reachable(index_, peer))
      unreachable.push_back(member.worker);
    else if (!other.running() && group.attempts > kPatience)
      unreachable.push_back(member.worker);
    // It had the link, and lost it: that number is over for it.
    else if (other.has_prepared(number) && world_.network().is_broken(number, index_, peer))
      unreachable.push_back(member.worker);
    else if (!other.running() || (!other.talks_in(number) && !hears_early(other)))
      all = false;
  }
  if (unreachable != group.unreachable)
  {
    group.unreachable = unreachable;
    feed(PeersUnreachable{number, unreachable});
  }
  if (!groups_.contains(number)) return;
  if (all && unreachable.empty())
  {
    groups_[number].told_prepared = true;
    for (const MemberInfo& member : groups_[number].members->members())
      world_.network().make_link(number, index_, world_.index_of(member.worker));
    world_.trace("process ", index_, " has connected ", number.value());
    feed(Prepared{number});
    return;
  }
  later(Lane::kPrepare, [this, number] { try_connect_group(number); });
}

void Process::join_group(Number number, const MemberListPtr& members)
{
  groups_[number].members = members;
  ++attempt_;
  step_.reset();
}

void Process::close_groups_below(Number number, bool keep)
{
  for (auto at = groups_.begin(); at != groups_.end() && at->first < number;)
  {
    close_group(at->first, {}, keep);
    at = groups_.erase(at);
  }
}

void Process::close_group(Number number, const std::set<WorkerId>& keep, bool keep_bytes)
{
  const auto at = groups_.find(number);
  if (at == groups_.end() || at->second.members == nullptr) return;
  for (const MemberInfo& member : at->second.members->members())
    if (member.worker != worker_ && !keep.contains(member.worker))
      world_.network().break_link(number, index_, world_.index_of(member.worker), keep_bytes);
}

void Process::act(const CopyBase& action)
{
  copy_ = action;
  ++copy_attempt_;
  for (std::size_t range = 0; range < ranges_.size(); ++range)
    if (!action.have[range]) ranges_[range].reset(), ask_for_range(range);
}

void Process::act(const StopCopying&)
{
  ++copy_attempt_;
}

void Process::ask_for_range(std::size_t range)
{
  later(Lane::kCopy, [this, range, attempt = copy_attempt_] {
    const bool late = attempt != copy_attempt_;
    if (copy_.donors.empty() || (late && !world_.by_chance(0.1))) return;
    const WorkerId from =
        world_.setup().scripted ? copy_.donors.front() : world_.rng().pick(copy_.donors);
    const int donor = world_.index_of(from);
    const Process& other = world_.process(donor);
    const bool there =
        other.running() && world_.network().reachable(index_, donor) && other.core() != nullptr;
    const std::optional<StateName> serves = there ? other.core()->serves() : std::nullopt;
    const bool right =
        serves && (serves == copy_.base || !world_.setup().rules.ranges_keyed_by_state_name);
    // A range of another state may arrive, or one that nobody waits for any more.
    if (serves && (right || late || world_.by_chance(0.05))) offer_range(other, *serves, range);
    if (!right && !late) ask_for_range(range);
  });
}

void Process::offer_range(const Process& donor, StateName state, std::size_t range)
{
  staged_ = donor.state_hash();
  feed(RangeArrived{state, range});
}

void Process::act(const InstallRange& action)
{
  ranges_[action.range] = staged_;
  if (state_name_)
  {
    state_name_.reset();
    kept_.reset();
    world_.ledger().state_lost(worker_);
  }
  if (!action.completes) return;
  std::uint64_t hash = ranges_.front().value_or(0);
  for (const auto& range : ranges_)
    if (range != ranges_.front()) hash = hash_combine(hash, range.value_or(0));
  state_is(action.state, hash);
  ++copy_attempt_;
  world_.trace("process ", index_, " has copied ", to_string(action.state));
  world_.ledger().obtained(worker_, action.state, hash);
}

void Process::act(const AdoptInitialState& action)
{
  state_is(action.base, philox_u64(world_.setup().seed, worker_.value(), 77));
  world_.ledger().obtained(worker_, action.base, state_hash_);
}

}  // namespace spillway::sim
