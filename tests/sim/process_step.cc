// SPDX-License-Identifier: Apache-2.0
// A step of a process: its share, the reduction, the vote, the apply.
#include <algorithm>

#include "absl/strings/str_join.h"
#include "process.h"
#include "spillway/base/hash.h"
#include "spillway/coordinator/cut.h"
#include "world.h"

namespace spillway::sim {
namespace {

constexpr Duration kReportPeriod = std::chrono::seconds(1);
constexpr Duration kLongStep = std::chrono::milliseconds(100);

}  // namespace

void Process::loop_comes_back()
{
  later(Lane::kCompute, [this] { feed(LoopReady{}); });
}

void Process::act(const BeginStep& action)
{
  ++attempt_;
  step_ = action;
  reduced_.reset();
  reduced_told_ = word_told_ = handed_in_ = false;
  zeros_ = action.contributes_zeros;
  // The user's thread hands in zeros, too: while it hangs in a step of before, they wait.
  const bool stuck = in_loop_ && hangs_;
  in_loop_ = stuck || !zeros_;
  if (action.control_only) return;
  if (zeros_ && !stuck) return compute(action);
  report({.name = {},
          .step = {},
          .phase = ProgressReport::Phase::kComputing,
          .p99_step = {},
          .lasts = kLongStep,
          .busy_limit = {}},
         kLongStep);
  if (hangs_) return;
  later(Lane::kCompute, [this, action, attempt = attempt_] {
    if (attempt == attempt_ && !hangs_) compute(action);
  });
}

// Hands in the share, which is cut among those who have the base.
void Process::compute(const BeginStep& action)
{
  const Number number = action.name.job_epoch;
  invariants::Contribution share{.worker = worker_, .from = state_hash_, .ranges = {}};
  if (!action.contributes_zeros)
  {
    std::vector<CutMember> cut_members;
    for (const MemberInfo& member : action.members->members())
      cut_members.push_back(
          {member.weight,
           !std::binary_search(action.copiers.begin(), action.copiers.end(), member.worker)});
    const Slice slice = cut(kBatch, cut_members)[action.members->rank_of(worker_)->value()];
    if (slice.length > 0) share.ranges.push_back({0, slice.begin, slice.begin + slice.length});
  }
  handed_in_ = true;
  for (int bucket = 0; bucket < world_.setup().buckets; ++bucket)
  {
    groups_[number].buckets[{action.name.step, bucket}][index_] = share;
    for (const MemberInfo& member : action.members->members())
    {
      if (member.worker == worker_) continue;
      PeerMessage message;
      message.kind = PeerMessage::Kind::kBucket;
      message.number = number;
      message.step = action.name.step;
      message.bucket = bucket;
      message.contribution = share;
      world_.network().send(index_, world_.index_of(member.worker), std::move(message));
    }
  }
  ProgressReport waits;
  if (action.contributes_zeros) waits.phase = ProgressReport::Phase::kHandedInZeros;
  report(waits, kReportPeriod);
  check_reduced();
}

// P13: who waits, or computes long, says so after a time, and then each second.
void Process::report(ProgressReport what, Duration after)
{
  world_.schedule().after(after, [this, what, attempt = attempt_] {
    when_running([this, what, attempt]() mutable {
      const bool computes = what.phase == ProgressReport::Phase::kComputing;
      if (attempt != attempt_ || !step_ || computes == handed_in_) return;
      what.name = EpochName::one_site(step_->name.lineage, step_->name.job_epoch);
      what.step = step_->name.step;
      world_.control().send_up(index_, what);
      if (computes) what.lasts += kReportPeriod;
      report(what, kReportPeriod);
    });
  });
}

void Process::arrived_in_group(int from, const PeerMessage& message)
{
  Number number = message.number;
  // A transport that does not look at numbers takes everything for its own.
  if (!world_.setup().rules.fenced_by_number && core_->current()) number = core_->current();
  if (number < core_->current() && !groups_.contains(number)) return;
  Group& group = groups_[number];
  if (message.kind == PeerMessage::Kind::kBucket)
  {
    group.buckets[{message.step, message.bucket}][from] = message.contribution;
    check_reduced();
  }
  else
  {
    group.votes[message.step][from] = {message.prepared, message.last_step};
    check_word();
  }
}

void Process::check_reduced()
{
  if (!step_ || reduced_told_ || !handed_in_ || step_->control_only) return;
  const Number number = step_->name.job_epoch;
  const StepId step = step_->name.step;
  Group& group = groups_[number];
  Buckets buckets{.name = {number, step}, .contributions = {}};
  for (int bucket = 0; bucket < world_.setup().buckets; ++bucket)
  {
    const auto& arrived = group.buckets[{step, bucket}];
    std::vector<invariants::Contribution>& all = buckets.contributions.emplace_back();
    for (const MemberInfo& member : step_->members->members())
    {
      const auto at = arrived.find(world_.index_of(member.worker));
      if (at == arrived.end()) return;
      all.push_back(at->second);
    }
  }
  reduced_ = std::move(buckets);
  reduced_told_ = true;
  feed(BucketsReduced{number, step});
}

std::uint64_t Process::hash_after(const Buckets& buckets) const
{
  std::uint64_t hash = hash_combine(state_hash_, buckets.name.number.value());
  hash = hash_combine(hash, buckets.name.step.value());
  for (const auto& bucket : buckets.contributions)
    for (const invariants::Contribution& share : bucket)
    {
      hash = hash_combine(hash, share.worker.value());
      if (share.ranges.empty()) continue;
      hash = hash_combine(hash_combine(hash, share.from), share.ranges.front().begin);
      hash = hash_combine(hash, share.ranges.front().end);
    }
  return hash;
}

void Process::tell_reduced(const Buckets& buckets, std::uint64_t hash)
{
  if (!state_name_) return;
  for (const auto& bucket : buckets.contributions)
    world_.ledger().reduced(worker_, buckets.name, hash, *state_name_, state_hash_, bucket);
}

void Process::act(const CastVote& action)
{
  if (!step_) return;
  const StepId step = action.name.step;
  if (reduced_ && !step_->control_only)
  {
    kept_ = reduced_;
    tell_reduced(*kept_, hash_after(*kept_));
  }
  const Number number = action.name.job_epoch;
  const Vote vote{action.prepared, world_.wants_last_step() && !step_->control_only};
  groups_[number].votes[step][index_] = vote;
  for (const MemberInfo& member : step_->members->members())
  {
    if (member.worker == worker_) continue;
    PeerMessage message;
    message.kind = PeerMessage::Kind::kVote;
    message.number = number;
    message.step = step;
    message.prepared = vote.prepared;
    message.last_step = vote.last_step;
    world_.network().send(index_, world_.index_of(member.worker), std::move(message));
  }
  check_word();
}

// The word is complete here when every member's vote has arrived here.
void Process::check_word()
{
  if (!step_ || word_told_) return;
  const Number number = step_->name.job_epoch;
  const auto votes = groups_[number].votes.find(step_->name.step);
  if (votes == groups_[number].votes.end()) return;
  WordComplete word{number, step_->name.step, Number(~std::uint64_t{0}), Number()};
  bool last = false;
  for (const MemberInfo& member : step_->members->members())
  {
    const auto at = votes->second.find(world_.index_of(member.worker));
    if (at == votes->second.end()) return;
    word.min_prepared = std::min(word.min_prepared, at->second.prepared);
    word.max_prepared = std::max(word.max_prepared, at->second.prepared);
    last = last || at->second.last_step;
  }
  word_told_ = true;
  if (last) feed(LastStepAgreed{step_->name.step});
  feed(word);
}

void Process::state_is(StateName name, std::uint64_t hash)
{
  state_name_ = name;
  state_hash_ = hash;
}

void Process::act(const Apply& action)
{
  later(Lane::kApply, [this, action] {
    const bool fails = std::exchange(apply_fails_, false) || !reduced_;
    ++attempt_;
    step_.reset();
    if (fails)
    {
      world_.trace("process ", index_, " fails to apply ", to_string(action.state));
      state_name_.reset();
      world_.ledger().state_lost(worker_);
      in_loop_ = false;
      feed(Applied{action.state, false});
      return loop_comes_back();
    }
    const std::uint64_t hash = hash_after(*reduced_);
    if (!kept_ || kept_->name != action.state) tell_reduced(*reduced_, hash);
    state_is(action.state, hash);
    world_.trace("process ", index_, " applies ", to_string(action.state));
    world_.applied(worker_, action.state, hash);
    Group& group = groups_[action.state.number];
    std::erase_if(group.buckets, [&](const auto& b) { return b.first.first <= action.state.step; });
    std::erase_if(group.votes, [&](const auto& v) { return v.first <= action.state.step; });
    const bool was_in_loop = std::exchange(in_loop_, false);
    feed(Applied{action.state, true});
    if (was_in_loop) loop_comes_back();
  });
}

void Process::act(const RollForward& action)
{
  later(Lane::kApply, [this, action] {
    const bool ok = kept_ && kept_->name == action.state && !std::exchange(apply_fails_, false);
    if (ok)
    {
      state_is(action.state, hash_after(*kept_));
      world_.trace("process ", index_, " rolls forward to ", to_string(action.state));
      world_.ledger().obtained(worker_, action.state, state_hash_);
    }
    else
    {
      state_name_.reset();
      world_.ledger().state_lost(worker_);
    }
    feed(Applied{action.state, ok});
    // The loop had asked before the stop, or comes back by itself.
  });
}

}  // namespace spillway::sim
