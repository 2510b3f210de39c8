// SPDX-License-Identifier: Apache-2.0
#include "run_state.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <utility>

#include "absl/strings/str_cat.h"
#include "spillway/base/log.h"
#include "spillway/base/status.h"

namespace spillway::internal {

RunState::RunState(std::string job, RunOptions options, EngineFactory factory)
    : job(std::move(job)), options(std::move(options)), factory(std::move(factory))
{
  step.run_ = this;
  micro.run_ = this;
}

std::string RunState::where() const
{
  std::string text = absl::StrCat("job ", job);
  if (plan)
    absl::StrAppend(&text, ", epoch ", plan->name.job_epoch.value(), ", step ",
                    plan->name.step.value(), ", rank ", plan->rank.value());
  return text;
}

void RunState::check(const absl::Status& status) const
{
  if (const std::exception_ptr thrown = replica->failure()) std::rethrow_exception(thrown);
  if (!status.ok()) throw Error(annotate(status, where()));
}

void RunState::refuse(const std::string& what) const
{
  throw Error(absl::FailedPreconditionError(absl::StrCat(where(), ": ", what)));
}

void RunState::next_step()
{
  if (phase == Phase::kComputing)
  {
    if (!engine->step_aborted())
      refuse("the loop asks for the next step, but this one was not finished: call step.finish()");
    finish();
  }
  phase = Phase::kBetween;
  iterating = false;
  auto next = engine->begin_step();
  check(next.status());
  if (!*next)
  {
    signal_watch.reset();
    if (const auto step = replica->nan_step(); step && options.on_nan == OnNan::kStop)
      refuse(absl::StrCat("stopped because the loss of step ", step->value(),
                          " was not a number; that step was not applied. Lower the "
                          "learning rate, clip, or look at the samples of that step"));
    plan.reset();
    return;
  }
  plan = std::move(*next);
  rank = plan->rank;
  members = plan->members;
  micro_index = 0;
  contribution = {};
  backward_failed = false;
  replica->begin_step(*engine);
  phase = Phase::kComputing;
}

void RunState::begin_micro_batches()
{
  if (phase != Phase::kComputing || iterating)
    refuse("the micro-batches of a step can be gone through once, before step.finish()");
  iterating = true;
  enter_micro_batch();
}

bool RunState::micro_batches_ended() const
{
  return micro_index >= plan->micro_batches.size() || engine->step_aborted();
}

// The present one counts once its backward is done, whether the loop moves on from it or is left.
std::size_t RunState::micro_batches_contributed() const
{
  const bool present = iterating && micro_index < plan->micro_batches.size() && backward_done;
  return micro_index + (present ? 1 : 0);
}

void RunState::enter_micro_batch()
{
  if (micro_batches_ended()) return;
  samples_filled = false;
  backward_done = false;
  replica->begin_micro_batch(
      engine->data().micro_batch_seed(plan->name.step, plan->micro_batches[micro_index].front()));
}

void RunState::leave_micro_batch()
{
  if (!backward_done && !engine->step_aborted())
    refuse(absl::StrCat("micro-batch ", micro_index,
                        " had no micro.backward(): its samples would "
                        "be lost. Give samples that shall not count a weight of 0"));
  ++micro_index;
  enter_micro_batch();
}

void RunState::hand_out(const Samples& loaded)
{
  samples = loaded;
  samples_filled = true;
}

const Samples& RunState::current_samples(bool with_seeds)
{
  if (!samples_filled || (with_seeds && samples.seeds.empty()))
    samples.fill(engine->data(), plan->name.step, plan->micro_batches[micro_index], with_seeds);
  samples_filled = true;
  return samples;
}

void RunState::backward(const at::Tensor& loss_sum, double weight)
{
  if (phase != Phase::kComputing || !iterating || micro_index >= plan->micro_batches.size())
    refuse("micro.backward() outside of the loop over the step's micro-batches");
  if (backward_done)
    refuse(absl::StrCat("micro.backward() was called twice for micro-batch ", micro_index,
                        ": add the losses up and call it once"));
  if (backward_failed)
    refuse(
        "micro.backward() threw before in this step, and some gradients may have been added up by "
        "then: what it threw ends the run");
  if (!(weight >= 0) || !std::isfinite(weight))
    refuse(absl::StrCat("micro.backward() got the weight ", weight,
                        "; it must be 0 or a positive number"));
  const bool last = micro_index + 1 == plan->micro_batches.size();
  backward_failed = true;  // unless it comes back
  const auto loss = replica->backward(loss_sum, last);
  if (!loss.ok()) throw Error(annotate(loss.status(), where()));
  backward_failed = false;
  backward_done = true;
  contribution.loss_sum += *loss;
  contribution.weight += weight;
  add_received(current_samples(false));
}

// Counted from the indices that the loop was given and came back with, never from the plan: this is
// what the checker of exactly-once reads.
void RunState::add_received(const Samples& received)
{
  contribution.samples += received.size();
  if (options.event_log_directory.empty()) return;
  for (const engine::PositionRange& range :
       engine->data().positions_of(received.indices, plan->micro_batches[micro_index]))
  {
    const auto goes_on =
        std::find_if(contribution.received.begin(), contribution.received.end(),
                     [&](const engine::PositionRange& before) {
                       return before.part == range.part && before.end == range.begin;
                     });
    if (goes_on != contribution.received.end())
      goes_on->end = range.end;
    else
      contribution.received.push_back(range);
  }
}

void RunState::veto()
{
  if (phase != Phase::kComputing)
    refuse("step.veto() after step.finish() comes too late: the step has been decided");
  contribution.veto = true;
}

StepResult RunState::finish()
{
  if (phase != Phase::kComputing) refuse("step.finish() was called twice");
  phase = Phase::kFinished;
  if (engine->step_aborted())
    replica->abandon();
  else if (!iterating || micro_batches_contributed() < plan->micro_batches.size())
    refuse(absl::StrCat("step.finish() after micro.backward() of ", micro_batches_contributed(),
                        " of ", plan->micro_batches.size(),
                        " micro-batches: the samples of the others would be lost. Go through all "
                        "of them, and give samples that shall not count a weight of 0"));
  else
  {
    const auto used = replica->complete(contribution.samples, plan->lead);
    if (!used.ok()) throw Error(annotate(used.status(), where()));
    contribution.used_parameters = *used;
  }
  auto outcome = engine->finish_step(contribution);
  check(outcome.status());
  if (outcome->result == engine::StepResult::kAborted) return StepResult::kAborted;
  totals = std::move(outcome->totals);
  if (!std::isfinite(totals.loss_sum)) warn_of_nan();
  return outcome->result == engine::StepResult::kSkipped || replica->update_skipped()
             ? StepResult::kSkipped
             : StepResult::kApplied;
}

void RunState::warn_of_nan()
{
  if (options.on_nan == OnNan::kStop) engine->request_stop();
  // Rarer and rarer: a loss that has become NaN usually stays it.
  if (std::has_single_bit(++nan_warnings))
    log_warning(where(), ": the loss is not a number (time ", nan_warnings, "). ",
                options.on_nan == OnNan::kStop
                    ? "The step is not applied and the job ends"
                    : "Going on; RunOptions::on_nan = OnNan::kStop ends the job instead");
}

bool RunState::collective(const absl::Status& status)
{
  shares_changed = absl::IsOutOfRange(status);
  if (status.ok()) return true;
  if (shares_changed)
  {
    const engine::Sharers now = engine->call_sharers();
    rank = now.rank;
    members = now.count;
    return false;
  }
  if (absl::IsAborted(status)) return false;
  throw Error(annotate(status, where()));
}

}  // namespace spillway::internal
