// SPDX-License-Identifier: Apache-2.0
// The user thread: what happens inside begin_step() and finish_step().
#include <algorithm>

#include "absl/strings/str_cat.h"
#include "engine_impl.h"
#include "spillway/base/check.h"
#include "spillway/base/log.h"
#include "spillway/base/status.h"
#include "step_slice.h"

namespace spillway::engine {

// The loop asks for its next step: what is held now is the state that is served, hashed, restored.
absl::Status EngineImpl::rest()
{
  if (!held_) return absl::OkStatus();
  if (restore_)
  {
    restore_ = false;
    served_.restore_shadow();
    return replica_.import_state();
  }
  if (rested_) return absl::OkStatus();
  SPILLWAY_RETURN_IF_ERROR(replica_.export_state());
  served_.take_shadow();
  served_.open(*held_);
  rested_ = true;
  return absl::OkStatus();
}

// Once for each step that the core is to begin for the loop.
void EngineImpl::ask()
{
  driver_.locked([this] { ask_again_ = ask_taken_ = false; });
  driver_.feed(LoopReady{});
}

absl::StatusOr<std::optional<StepPlan>> EngineImpl::begin_step()
{
  SPILLWAY_RETURN_IF_ERROR(fatal_);
  if (end_ != EndReason::kNotEnded) return std::nullopt;
  if (step_.open)
    return absl::FailedPreconditionError(absl::StrCat(
        "step ", step_.name.step.value(), " was begun: call finish_step() before begin_step()"));
  asked_ = true;
  plan_.reset();
  SPILLWAY_RETURN_IF_ERROR(rest());
  driver_.locked([this] { in_begin_ = true; });
  ask();
  while (true)
  {
    std::optional<UserItem> item =
        driver_.take([this](const UserItem* front) { return decide_in_begin(front); });
    if (!item)
    {
      SPILLWAY_RETURN_IF_ERROR(over());
      bool done = false;
      driver_.locked([&] { done = done_without_coordinator(); });
      if (done)
      {
        log_warning("job ", options_.job_id, " is done, and nobody is there to say so: worker ",
                    self_.value(), " ends, since its lease has run out");
        end_ = stop_agreed_ ? EndReason::kStopped : EndReason::kLastStep;
        return std::nullopt;
      }
      ask();
      continue;
    }
    if (const absl::Status status = handle(*std::move(item)); !status.ok()) return fatal_ = status;
    if (end_ != EndReason::kNotEnded) return std::nullopt;
    if (!plan_) continue;
    asked_ = false;
    driver_.locked([this] { in_begin_ = false; });
    return std::exchange(plan_, std::nullopt);
  }
}

// Under the driver's lock. The control-only step is complete, so every member has the last state
// and nobody needs this one, but it is not released either: the coordinator has gone.
bool EngineImpl::done_without_coordinator()
{
  const MemberCore& core = driver_.core();
  return core.status().done && core.holds_for_lease(clock_.now());
}

absl::Status EngineImpl::over()
{
  absl::Status why;
  driver_.locked([&] { why = link_over_; });
  return annotate(why, absl::StrCat("worker ", self_.value(), " of job ", options_.job_id,
                                    " cannot go on: the agent or the job gave it up"));
}

Driver::Decision EngineImpl::decide_in_begin(const UserItem* front)
{
  if (!link_over_.ok() || ask_again_) return Driver::Decision::kStop;
  if (front == nullptr)
    return done_without_coordinator() ? Driver::Decision::kStop : Driver::Decision::kWait;
  if (const auto* begin = std::get_if<BeginStep>(&front->action))
  {
    step_aborted_.store(false, std::memory_order_relaxed);
    step_number_.store(begin->name.job_epoch.value(), std::memory_order_relaxed);
    step_.changes = changes_;
  }
  return Driver::Decision::kTake;
}

Driver::Decision EngineImpl::decide_in_finish(const UserItem* front)
{
  if (!link_over_.ok()) return Driver::Decision::kStop;
  const bool ours = front != nullptr && (std::holds_alternative<CastVote>(front->action) ||
                                         std::holds_alternative<Apply>(front->action) ||
                                         std::holds_alternative<RollForward>(front->action));
  if (ours) return Driver::Decision::kTake;
  if (changes_ != step_.changes) return Driver::Decision::kStop;
  // Who has voted waits for what the others make of it: it may have to roll forward (P2).
  const bool voted = driver_.core().status().voted == step_.state();
  const bool lost = step_.call_failed || step_aborted_.load(std::memory_order_relaxed);
  return lost && !voted ? Driver::Decision::kStop : Driver::Decision::kWait;
}

absl::Status EngineImpl::handle(UserItem item)
{
  if (auto* range = std::get_if<InstallRange>(&item.action))
    return install(*range, std::move(item.bytes));
  return std::visit([this](const auto& action) { return user(action); }, item.action);
}

std::vector<MutableByteSpan> EngineImpl::result_spans(std::size_t set)
{
  if (results_[set].empty())
    for (const BucketSpec& bucket : buckets_)
      results_[set].emplace_back(bucket.count * comm::size_bytes(bucket.type));
  std::vector<MutableByteSpan> spans;
  for (std::vector<std::byte>& memory : results_[set])
    spans.emplace_back(memory.data(), memory.size());
  return spans;
}

// Whether some member's loop did not see the step before this one, so that it makes none of the
// collectives that the others may make after it. Computed alike by all.
bool EngineImpl::needs_gate(const BeginStep& action)
{
  if (action.first_of_number) first_step_ = action.name;
  const bool second =
      first_step_.job_epoch == action.name.job_epoch && first_step_.step.next() == action.name.step;
  return action.first_of_number || second || options_.data.global_batch < action.members->size();
}

absl::Status EngineImpl::user(const BeginStep& action)
{
  const std::uint64_t changes = step_.changes;
  if (step_.open) settled(StepResult::kAborted);
  step_ = Step{};
  step_.name = action.name;
  step_.changes = changes;
  step_.control_only = action.control_only;
  step_.took_ask = !action.contributes_zeros;
  step_.has_copiers = !action.copiers.empty();
  step_.unseen = action.first_of_number || options_.data.global_batch < action.members->size();
  step_.begun_at = clock_.now();
  step_.links = links_->get(action.name.job_epoch);
  // Not connected, or over already: the step is void, what follows comes from the core.
  if (!step_.links || !step_.links->await_ready().ok()) return absl::OkStatus();
  step_.open = true;
  backward_seen_.store(false, std::memory_order_relaxed);
  fault("step.begin", action.name.step);
  // What a copier voted before may still have to be rolled forward: its buckets stay.
  if (kept_ && action.contributes_zeros && kept_->set == set_) set_ = 1 - set_;
  pulse_->begun(action.name);
  pipeline_->begin({.name = action.name,
                    .links = step_.links,
                    .first_of_number = action.first_of_number,
                    .gated = needs_gate(action),
                    .control_only = action.control_only,
                    .holds = !action.contributes_zeros,
                    .results = result_spans(set_)});
  if (action.control_only)
  {
    pulse_->handed_in();
    return call_failed(pipeline_->drain());
  }
  if (!action.contributes_zeros)
    plan_ = plan_step(data_, action.name.step, *action.members, action.copiers, self_);
  if (!plan_ || plan_->slice.empty())
  {
    plan_.reset();
    return contribute_silently();
  }
  plan_->name = action.name;
  plan_->redo = begun_[action.name.step]++ > 0;
  return absl::OkStatus();
}

MutableByteSpan EngineImpl::bucket(std::size_t index)
{
  return pipeline_->contribution(index);
}

void EngineImpl::bucket_ready(std::size_t index)
{
  if (!backward_seen_.exchange(true, std::memory_order_relaxed)) fault("backward", step_.name.step);
  pipeline_->mark_ready(index);
  fault("bucket.contributed", step_.name.step);
}

absl::StatusOr<StepOutcome> EngineImpl::finish_step(const StepContribution& contribution)
{
  SPILLWAY_RETURN_IF_ERROR(fatal_);
  if (!step_.open)
    return absl::FailedPreconditionError("finish_step() without a step of begin_step()");
  const MonotonicTime called_at = clock_.now();
  absl::Status status;
  if (step_aborted())
    status = absl::AbortedError("the step was aborted while the loop computed it");
  else
    pipeline_->zero_the_rest();
  pulse_->handed_in();
  if (status.ok())
    status = pipeline_->drain();
  else
    pipeline_->abandon();
  if (status.ok())
  {
    {
      const std::lock_guard lock(stats_mutex_);
      stats_.last_reduce_wait = clock_.now() - called_at;
    }
    status = gather_totals(&contribution);
  }
  if (status.ok())
  {
    fault("reduce.done", step_.name.step);
    driver_.feed(BucketsReduced{step_.name.job_epoch, step_.name.step});
  }
  else
  {
    SPILLWAY_RETURN_IF_ERROR(fatal_ = call_failed(status));
  }
  return settle();
}

absl::StatusOr<StepOutcome> EngineImpl::settle()
{
  while (!step_.result)
  {
    std::optional<UserItem> item =
        driver_.take([this](const UserItem* front) { return decide_in_finish(front); });
    if (!item)
    {
      settled(StepResult::kAborted);
      break;
    }
    SPILLWAY_RETURN_IF_ERROR(fatal_ = handle(*std::move(item)));
  }
  StepOutcome outcome{.result = *step_.result, .totals = {}};
  if (outcome.result != StepResult::kAborted)
  {
    outcome.totals = std::move(step_.totals);
    outcome.totals.stop_requested = step_.stop_agreed;
  }
  return outcome;
}

// The end of the flight recorder, in words.
std::string EngineImpl::last_calls() const
{
  constexpr std::size_t kShown = 6;
  const std::vector<comm::FlightRecord> records = transport_->recorder().records();
  std::string text;
  for (std::size_t i = records.size() - std::min(kShown, records.size()); i < records.size(); ++i)
    absl::StrAppend(&text, text.empty() ? "" : ", ", comm::name_of(records[i].collective), " ",
                    records[i].name.epoch.value(), ".", records[i].name.step.value(), ".",
                    static_cast<std::int32_t>(records[i].name.index), " ",
                    comm::name_of(records[i].state));
  return text;
}

// The step has its result, on this member.
void EngineImpl::settled(StepResult result)
{
  step_.result = result;
  step_.open = false;
  pulse_->done();
  const MonotonicTime now = clock_.now();
  if (result == StepResult::kAborted)
  {
    pipeline_->abandon();
    // Nothing was lost: there was nothing to lose, or the others have applied the step that this
    // member has handed in, and let it go before it saw the last word.
    if (step_.control_only || released_.load(std::memory_order_relaxed)) return;
    restore_ = held_.has_value() && rested_;
    log_.aborted(step_.state());
    log_info("step ", step_.name.step.value(), " of ", step_.name.job_epoch.value(),
             " is aborted; the last collectives: ", last_calls());
    if (log_.enabled()) log_.flight(transport_->recorder().json());
    const std::lock_guard lock(stats_mutex_);
    ++stats_.steps_aborted;
    return;
  }
  begun_.clear();
  step_times_.add(now - step_.begun_at);
  const std::lock_guard lock(stats_mutex_);
  ++(result == StepResult::kApplied ? stats_.steps_applied : stats_.steps_skipped);
  if (stats_.last_abort && (!stats_.last_applied || *stats_.last_applied < *stats_.last_abort))
    stats_.last_abort_to_applied = now - *stats_.last_abort;
  stats_.last_applied = now;
}

// The control-only step has no result: what remains is to be released.
absl::Status EngineImpl::user(const Finished&)
{
  step_.open = false;
  pulse_->done();
  return absl::OkStatus();
}

absl::Status EngineImpl::user(const Exit& action)
{
  using Reason = ::spillway::EndReason;
  if (step_.open) settled(StepResult::kAborted);
  switch (action.reason)
  {
    case Reason::kFinished:
      end_ = stop_agreed_ ? EndReason::kStopped : EndReason::kLastStep;
      return absl::OkStatus();
    case Reason::kReleased:
      end_ = EndReason::kLeft;
      return absl::OkStatus();
    case Reason::kStopped:
      end_ = EndReason::kStopped;
      return absl::OkStatus();
    case Reason::kStateLost:
      if (!apply_error_.ok()) return annotate(apply_error_, "no member holds the state any more");
      return absl::DataLossError(absl::StrCat(
          "job ", options_.job_id, ": no member holds the state any more; ", action.detail));
    case Reason::kTooFewMembers:
    case Reason::kRunning:
      break;
  }
  return absl::UnavailableError(absl::StrCat(
      "job ", options_.job_id, " ended: ", end_reason_name(action.reason), "; ", action.detail));
}

}  // namespace spillway::engine
