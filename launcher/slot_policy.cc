// SPDX-License-Identifier: Apache-2.0
#include "spillway/launcher/slot_policy.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "spillway/base/check.h"

namespace spillway {
namespace {

using Kind = SlotAction::Kind;
using Actions = std::vector<SlotAction>;

bool any_in(const SlotPolicyState& state, SlotPhase phase)
{
  return std::any_of(state.slots.begin(), state.slots.end(),
                     [&](const SlotState& slot) { return slot.phase == phase; });
}

bool all_in(const SlotPolicyState& state, SlotPhase phase)
{
  return std::all_of(state.slots.begin(), state.slots.end(),
                     [&](const SlotState& slot) { return slot.phase == phase; });
}

void stop_running(const SlotPolicyState& state, const std::string& reason, Actions& out)
{
  for (std::size_t i = 0; i < state.slots.size(); ++i)
  {
    if (state.slots[i].phase == SlotPhase::kRunning)
      out.push_back({Kind::kStop, static_cast<int>(i), 0, 0, reason});
  }
}

void finish(SlotPolicyState& state, int code, std::string reason, Actions& out)
{
  state.finished = true;
  out.push_back({Kind::kFinish, 0, 0, code, std::move(reason)});
}

// How a stop that was asked for by a signal ends: a planned departure of all workers is a success.
void finish_after_signal(SlotPolicyState& state, Actions& out)
{
  const bool departed = state.kind == JobKind::kElastic && !any_in(state, SlotPhase::kGivenUp) &&
                        !any_in(state, SlotPhase::kIdle);
  const int signal = *state.stop_signal;
  finish(state, departed ? 0 : 128 + signal,
         departed ? absl::StrCat("all workers of this node left after ", "signal ", signal)
                  : absl::StrCat("stopped by signal ", signal),
         out);
}

void finish_if_done(SlotPolicyState& state, Actions& out)
{
  if (any_in(state, SlotPhase::kRunning) || state.restarting) return;
  if (state.forced_stop)
  {
    // What the coordinator says of the job, before or after the kill, is no word on this node.
    finish_after_signal(state, out);
  }
  else if (state.end_code)
  {
    const int code =
        state.use_worker_code ? state.failed_code.value_or(*state.end_code) : *state.end_code;
    finish(state, code, state.end_reason, out);
  }
  else if (state.stop_signal)
  {
    finish_after_signal(state, out);
  }
  else if (state.late_code)
  {
    finish(state, *state.late_code, "a worker failed after the last step", out);
  }
  else if (any_in(state, SlotPhase::kFinished) || all_in(state, SlotPhase::kLeft))
  {
    finish(state, 0, any_in(state, SlotPhase::kFinished) ? "the job is done" : "all workers left",
           out);
  }
  else
  {
    finish(state, state.failed_code.value_or(70),
           "every worker of this node died before its first applied step, as often as "
           "--max-restarts allows",
           out);
  }
}

void start_all(SlotPolicyState& state, Actions& out)
{
  state.restarting = false;
  state.workers_round = state.round;
  for (std::size_t i = 0; i < state.slots.size(); ++i)
  {
    state.slots[i].phase = SlotPhase::kRunning;
    ++state.slots[i].starts;
    out.push_back({Kind::kStart, static_cast<int>(i), state.group_restarts, 0,
                   absl::StrCat("restart ", state.group_restarts, " of ", restart_limit(state),
                                " of all workers")});
  }
}

// All processes of this node are gone and all are to start again: at once, or when all nodes do.
void start_all_if_agreed(SlotPolicyState& state, Actions& out)
{
  if (any_in(state, SlotPhase::kRunning)) return;
  if (!state.by_rounds || state.round > state.workers_round) start_all(state, out);
}

void end_plain_job(SlotPolicyState& state, int code, std::string reason, Actions& out)
{
  state.end_code = code;
  state.end_reason = reason;
  stop_running(state, reason, out);
  finish_if_done(state, out);
}

void plain_exit(SlotPolicyState& state, const WorkerExit& exit, Actions& out)
{
  SlotState& slot = state.slots[static_cast<std::size_t>(exit.slot)];
  const bool ending = state.end_code || state.stop_signal;
  slot.phase = exit.reason.success() && !state.restarting ? SlotPhase::kFinished : SlotPhase::kIdle;
  if (ending) return finish_if_done(state, out);
  if (state.restarting)
  {
    return start_all_if_agreed(state, out);
  }
  if (exit.reason.success()) return finish_if_done(state, out);
  state.failed_code = exit.reason.code();
  const std::string what =
      absl::StrCat("worker of local rank ", exit.slot, " ", exit.reason.describe());
  if (exit.refused)
    return end_plain_job(
        state, exit.reason.code(),
        absl::StrCat("the worker of local rank ", exit.slot, " could not be started"), out);
  if (state.group_restarts >= restart_limit(state))
  {
    return end_plain_job(state, exit.reason.code(),
                         absl::StrCat(what, "; no restarts left of ", restart_limit(state)), out);
  }
  state.restarting = true;
  ++state.group_restarts;
  stop_running(state, absl::StrCat(what, "; all workers restart"), out);
  if (state.by_rounds) out.push_back({Kind::kAskForRound, exit.slot, 0, 0, what});
  start_all_if_agreed(state, out);
}

void elastic_exit(SlotPolicyState& state, const WorkerExit& exit, Actions& out)
{
  SlotState& slot = state.slots[static_cast<std::size_t>(exit.slot)];
  const bool ending = state.end_code || state.stop_signal || state.job_done;
  if (exit.reason.success())
  {
    slot.phase = exit.told_to_leave || state.stop_signal ? SlotPhase::kLeft : SlotPhase::kFinished;
    return finish_if_done(state, out);
  }
  // Who was still joining when the job was done has ended nothing.
  if (state.job_done && !exit.applied_a_step)
  {
    slot.phase = SlotPhase::kFinished;
    return finish_if_done(state, out);
  }
  state.failed_code = exit.reason.code();
  if (state.job_done && !exit.forced) state.late_code = exit.reason.code();
  state.forced_stop = state.forced_stop || (exit.forced && state.stop_signal);
  if (!exit.applied_a_step) ++slot.early_deaths;
  const bool gives_up = exit.refused || slot.early_deaths > restart_limit(state);
  if (exit.told_to_leave && !ending)
    slot.phase = SlotPhase::kLeft;
  else
    slot.phase = ending || gives_up ? SlotPhase::kGivenUp : SlotPhase::kRunning;
  if (slot.phase == SlotPhase::kGivenUp && !ending && any_in(state, SlotPhase::kRunning))
    out.push_back({Kind::kGiveUp, exit.slot, 0, 0,
                   exit.refused ? std::string("the job refuses its worker")
                                : absl::StrCat("its workers died ", slot.early_deaths,
                                               " times before their first applied step, "
                                               "--max-restarts is ",
                                               restart_limit(state))});
  if (slot.phase != SlotPhase::kRunning) return finish_if_done(state, out);
  out.push_back({Kind::kStart, exit.slot, slot.starts++, 0,
                 exit.applied_a_step
                     ? absl::StrCat("replaces the worker that ", exit.reason.describe())
                     : absl::StrCat("replaces the worker that ", exit.reason.describe(),
                                    " before its first applied step, death ", slot.early_deaths,
                                    " of at most ", restart_limit(state))});
}

Actions on_wanted(const SlotPolicyState& state)
{
  Actions out;
  for (std::size_t i = 0; i < state.slots.size(); ++i)
    out.push_back({Kind::kStart, static_cast<int>(i), 0, 0, ""});
  return out;
}

Actions on_exit(SlotPolicyState& state, const WorkerExit& exit)
{
  Actions out;
  SlotState& slot = state.slots[static_cast<std::size_t>(exit.slot)];
  SPILLWAY_CHECK(slot.phase == SlotPhase::kRunning, "exit reported for slot ", exit.slot,
                 ", which has no process");
  slot.last_code = exit.reason.code();
  state.anybody_registered = state.anybody_registered || exit.registered;
  // The first decision that depends on the kind settles it. A success settles it only for who
  // used the API: a plain worker that ends early says nothing about the others.
  if (state.kind == JobKind::kUndecided && (state.anybody_registered || !exit.reason.success()))
    state.kind = state.anybody_registered ? JobKind::kElastic : JobKind::kPlain;
  if (state.kind == JobKind::kElastic)
    elastic_exit(state, exit, out);
  else
    plain_exit(state, exit, out);
  return out;
}

Actions on_stop(SlotPolicyState& state, const StopRequest& request)
{
  Actions out;
  const bool again = state.stop_signal.has_value();
  if (!again) state.stop_signal = request.signal;
  if (state.kind == JobKind::kUndecided && state.anybody_registered) state.kind = JobKind::kElastic;
  state.restarting = false;
  stop_running(state, absl::StrCat("the agent received signal ", request.signal), out);
  // Who asks twice does not want to wait for a departure.
  for (SlotAction& action : out) action.kind = again ? Kind::kKill : Kind::kStop;
  finish_if_done(state, out);
  return out;
}

Actions on_end(SlotPolicyState& state, const JobEnd& end)
{
  Actions out;
  if (state.end_code) return out;
  state.end_code = end.exit_code;
  state.use_worker_code = end.use_worker_code;
  state.end_reason = end.why;
  state.restarting = false;
  stop_running(state, end.why, out);
  finish_if_done(state, out);
  return out;
}

Actions on_done(SlotPolicyState& state)
{
  Actions out;
  state.job_done = true;
  // Only programs on the API have a last step. Another program has ended well elsewhere.
  const bool others_program = !state.anybody_registered && state.kind != JobKind::kElastic;
  state.kind = JobKind::kElastic;
  state.restarting = false;
  for (SlotState& slot : state.slots)
    if (slot.phase == SlotPhase::kIdle) slot.phase = SlotPhase::kFinished;
  if (others_program) stop_running(state, "the program has ended well on the other nodes", out);
  finish_if_done(state, out);
  return out;
}

Actions on_round(SlotPolicyState& state, const RoundBegan& began)
{
  Actions out;
  const bool first = state.round == 0;
  if (!began.with_us && first) return out;
  if (began.with_us) state.round = std::max(state.round, began.round);
  if (first) state.workers_round = state.round;
  const bool ending = state.end_code || state.stop_signal;
  const bool elastic = state.kind == JobKind::kElastic || state.anybody_registered;
  if (first || ending || elastic) return out;
  if (began.with_us && state.round <= state.workers_round) return out;
  if (!state.restarting)
    stop_running(state,
                 began.with_us ? "another node restarts all workers"
                               : "the other nodes have started anew without this one",
                 out);
  state.restarting = true;
  start_all_if_agreed(state, out);
  return out;
}

}  // namespace

int restart_limit(const SlotPolicyState& state)
{
  return state.max_restarts.value_or(state.kind == JobKind::kElastic ? 3 : 0);
}

std::vector<SlotAction> slot_policy(SlotPolicyState& state, const SlotEvent& event)
{
  if (state.finished) return {};
  if (std::holds_alternative<WorkersWanted>(event)) return on_wanted(state);
  if (const auto* exit = std::get_if<WorkerExit>(&event)) return on_exit(state, *exit);
  if (const auto* stop = std::get_if<StopRequest>(&event)) return on_stop(state, *stop);
  if (const auto* end = std::get_if<JobEnd>(&event)) return on_end(state, *end);
  if (std::holds_alternative<JobDone>(event)) return on_done(state);
  if (const auto* round = std::get_if<RoundBegan>(&event)) return on_round(state, *round);
  const auto& silent = std::get<WorkerSilent>(event);
  return {{Kind::kKill, silent.slot, 0, 0, silent.why}};
}

}  // namespace spillway
