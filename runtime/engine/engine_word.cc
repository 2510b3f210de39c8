// SPDX-License-Identifier: Apache-2.0
// The end of a step on the user thread: totals, vote, replica check, apply (P1, P16).
#include <algorithm>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "engine_impl.h"
#include "spillway/base/check.h"
#include "spillway/base/log.h"
#include "spillway/base/status.h"

namespace spillway::engine {
namespace {

// Indices of calls that are no buckets.
constexpr std::uint32_t kTotalsIndex = 0xffffff00;
constexpr std::uint32_t kVoteIndex = 0xffffff01;

// Between two looks at who is missing; after so many reports the coordinator has not acted.
constexpr Duration kWordPause = std::chrono::seconds(1);
constexpr int kMostLateReports = 60;

}  // namespace

// What every member must know to apply the step, with or without the others' votes.
absl::Status EngineImpl::gather_totals(const StepContribution* contribution)
{
  // Before anybody can complete the step: if this process dies now, the others may still apply it.
  log_.contributed(step_.state(), contribution == nullptr
                                      ? absl::Span<const PositionRange>()
                                      : absl::MakeConstSpan(contribution->received));
  NumberLinks& links = *step_.links;
  std::vector<std::byte> mine(totals_codec_.record_bytes());
  totals_codec_.encode(contribution, {mine.data(), mine.size()});
  std::vector<std::byte> all(mine.size() * links.size());
  SPILLWAY_RETURN_IF_ERROR(links.all_gather(step_.name.step, kTotalsIndex,
                                            {mine.data(), mine.size()}, {all.data(), all.size()},
                                            word_options()));
  kept_ = Kept{.state = step_.state(),
               .totals = totals_codec_.fold(step_.name, links.size(), {all.data(), all.size()}),
               .set = set_};
  return absl::OkStatus();
}

std::uint64_t EngineImpl::check_bytes() const
{
  return std::min(options_.replica_check_bytes_per_step, served_.size_bytes());
}

// Where this step's part of the state begins: the parts of the steps of one cycle cover it whole.
std::uint64_t EngineImpl::check_offset() const
{
  return step_.name.step.value() * check_bytes() % served_.size_bytes();
}

Vote EngineImpl::make_vote(Number prepared) const
{
  Vote vote{.prepared = prepared.value()};
  if (stop_requested_.load(std::memory_order_relaxed)) vote.wants_stop = 1;
  const bool checks = options_.replica_check && !step_.links->alone() && !step_.control_only &&
                      check_bytes() > 0 && rested_;
  if (checks)
  {
    vote.hash_valid = 1;
    vote.state_hash = served_.hash(check_offset(), check_bytes());
  }
  return vote;
}

absl::StatusOr<std::vector<Vote>> EngineImpl::gather_votes(const Vote& mine)
{
  NumberLinks& links = *step_.links;
  std::vector<Vote> votes(links.size());
  SPILLWAY_RETURN_IF_ERROR(links.all_gather(
      step_.name.step, kVoteIndex, object_bytes(mine),
      {reinterpret_cast<std::byte*>(votes.data()), votes.size() * sizeof(Vote)}, word_options()));
  return votes;
}

absl::Status EngineImpl::user(const CastVote& action)
{
  if (!step_.open || action.name != step_.name) return absl::OkStatus();
  fault("vote.cast", action.name.step);
  const MonotonicTime cast_at = clock_.now();
  const absl::StatusOr<std::vector<Vote>> votes = gather_votes(make_vote(action.prepared));
  if (!votes.ok()) return call_failed(votes.status());
  fault("word.complete", action.name.step);
  {
    const std::lock_guard lock(stats_mutex_);
    stats_.last_word = clock_.now() - cast_at;
  }
  SPILLWAY_RETURN_IF_ERROR(check_replicas(*votes));
  const Word word = fold_votes(*votes);
  if (word.stop && !step_.control_only)
  {
    step_.stop_agreed = stop_agreed_ = true;
    driver_.feed(LastStepAgreed{action.name.step});
  }
  driver_.feed(
      WordComplete{action.name.job_epoch, action.name.step, word.min_prepared, word.max_prepared});
  return absl::OkStatus();
}

// The culprit gives its state up; without a majority nobody knows who is right.
absl::Status EngineImpl::check_replicas(absl::Span<const Vote> votes)
{
  const ReplicaVerdict verdict = compare_replicas(votes);
  if (verdict.agree) return absl::OkStatus();
  const std::string culprits =
      absl::StrJoin(verdict.culprits, ", ", [&](std::string* out, std::uint32_t rank) {
        absl::StrAppend(out, step_.links->members().members()[rank].worker.value());
      });
  const std::string what = absl::StrCat(
      "replica check in job ", options_.job_id, ", step ", step_.name.step.value(), " of ",
      step_.name.job_epoch.value(), ": bytes ", check_offset(), "+", check_bytes(),
      " of the state (from '", served_.entry_at(check_offset()).name, "' on)");
  log_.note("replica", absl::StrCat("\"step\":", step_.name.step.value(),
                                    ",\"majority\":", verdict.majority ? "true" : "false",
                                    ",\"culprits\":[", culprits, "]"));
  if (!verdict.majority)
    return absl::FailedPreconditionError(
        absl::StrCat(what, " differ between workers ", culprits,
                     " without a majority: restore the newest checkpoint; look for a bad memory, "
                     "or for state that is not registered or not deterministic"));
  log_error(what, " are other ones at worker ", culprits, ", which will copy its state anew");
  step_.culprit = std::find(verdict.culprits.begin(), verdict.culprits.end(),
                            step_.links->rank().value()) != verdict.culprits.end();
  return absl::OkStatus();
}

absl::Status EngineImpl::user(const Apply& action)
{
  SPILLWAY_CHECK(kept_ && kept_->state == action.state, "nothing kept of ",
                 to_string(action.state));
  step_.totals = kept_->totals;
  const absl::Status status = apply(action.state, step_.totals, kept_->set);
  const bool skipped = step_.totals.veto || step_.totals.overflow;
  settled(!status.ok() ? StepResult::kAborted
          : skipped    ? StepResult::kSkipped
                       : StepResult::kApplied);
  if (!step_.silent) return absl::OkStatus();
  calls_.forget();
  return finish_silent_step();
}

absl::Status EngineImpl::user(const RollForward& action)
{
  SPILLWAY_CHECK(kept_ && kept_->state == action.state, "nothing kept of ",
                 to_string(action.state));
  log_info("applies ", to_string(action.state), " from its own buckets");
  const bool under_way = step_.open && step_.state() == action.state;
  if (under_way) step_.totals = kept_->totals;
  const StepTotals totals = kept_->totals;
  const absl::Status status = apply(action.state, totals, kept_->set);
  if (!under_way) calls_.forget();  // the loop was told that it was aborted
  {
    const std::lock_guard lock(stats_mutex_);
    if (status.ok()) ++stats_.rolled_forward;
  }
  if (!under_way) return absl::OkStatus();
  const bool skipped = totals.veto || totals.overflow;
  settled(!status.ok() ? StepResult::kAborted
          : skipped    ? StepResult::kSkipped
                       : StepResult::kApplied);
  return absl::OkStatus();
}

// Advances the replica. A failure costs this member its state, which it then copies (P15).
absl::Status EngineImpl::apply(StateName state, const StepTotals& totals, std::size_t set)
{
  fault("apply.before", state.step);
  served_.close();
  rested_ = false;
  restore_ = false;
  std::vector<ReducedBucket> reduced;
  const std::vector<MutableByteSpan> spans = result_spans(set);
  for (std::size_t i = 0; i < buckets_.size(); ++i)
    reduced.push_back({.type = buckets_[i].type, .bytes = spans[i]});
  absl::Status status;
  if (step_.culprit)
    status = absl::DataLossError("this replica differs from the others");
  else
    status = replica_.apply(totals, absl::MakeSpan(reduced));
  if (status.ok() && log_.enabled()) status = replica_.export_state();
  fault("apply.after", state.step);
  if (status.ok())
  {
    held_ = state;
    held_number_.store(state.number.value(), std::memory_order_relaxed);
    held_step_.store(state.step.value(), std::memory_order_relaxed);
    calls_.reset(state.step);
    if (log_.enabled()) log_.applied(state, served_.live_hash());
    if (asked_) status = rest();
  }
  if (!status.ok())
  {
    log_error("the apply of step ", state.step.value(),
              " failed, the state is copied anew: ", status.message());
    apply_error_ = status;
    held_.reset();
    served_.close();
    rested_ = false;
  }
  driver_.feed(Applied{state, status.ok()});
  return status;
}

// A collective of the step failed. A peer's fault is not ours to judge: the core has heard of it,
// or will be told by an abort.
absl::Status EngineImpl::call_failed(const absl::Status& status)
{
  if (status.ok()) return status;
  if (status.code() == absl::StatusCode::kFailedPrecondition ||
      status.code() == absl::StatusCode::kInvalidArgument)
    return status;
  log_info("step ", step_.name.step.value(), " of ", step_.name.job_epoch.value(),
           " cannot complete: ", status.message());
  step_.call_failed = true;
  return absl::OkStatus();
}

// Once all have handed in, the word takes a moment; who is late then is a link that does not move,
// unless there is a reason to wait: a copy, or members that hold because their lease ran out.
comm::CallOptions EngineImpl::word_options()
{
  if (step_.links->alone()) return {};
  const MonotonicTime now = clock_.now();
  const Duration patience = std::max<Duration>(options_.word_timeout, 10 * step_times_.p99());
  return {.deadline = deadline_after(now, patience),
          .on_deadline = [this, now](const std::vector<WorkerId>& missing) {
            return word_is_late(missing, now);
          }};
}

MonotonicTime EngineImpl::word_is_late(const std::vector<WorkerId>& missing, MonotonicTime since)
{
  const MonotonicTime now = clock_.now();
  const bool copying = step_.has_copiers && now - since < options_.copy_timeout;
  if (copying || !driver_.hears_coordinator()) return deadline_after(now, kWordPause);
  if (++step_.late > kMostLateReports) return now;
  for (WorkerId peer : missing)
    driver_.feed(LinkLost{
        step_.name.job_epoch, peer,
        absl::StrCat("no progress for ",
                     std::chrono::duration_cast<std::chrono::seconds>(now - since).count(), " s")});
  return deadline_after(now, kWordPause);
}

}  // namespace spillway::engine
