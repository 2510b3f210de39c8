// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "spillway/launcher/exit_reason.h"

// Who is started, stopped and replaced on this node, and how the job ends here. Pure: no process,
// no clock, no thread; the agent feeds events and carries the actions out in their order.
namespace spillway {

// A slot is a place for one worker: its local rank. A worker that dies is replaced in its slot.
enum class SlotPhase
{
  kIdle,      // no process; waiting for the others to stop before all are restarted
  kRunning,   // has a process
  kFinished,  // its worker ended with code 0
  kLeft,      // its worker was told to leave and is gone; never replaced
  kGivenUp,   // its workers died too often before their first applied step
};

enum class JobKind
{
  kUndecided,
  kPlain,    // treated as torchrun treats it: all workers restart together
  kElastic,  // on the Spillway API: one worker is replaced, the others go on
};

struct WorkerExit
{
  int slot = 0;
  ExitReason reason;
  bool registered = false;  // it had registered with the agent
  bool applied_a_step = false;
  bool told_to_leave = false;  // by a signal to itself or to the agent, or by the coordinator
  bool refused = false;        // the job refused it: another one would be refused as well
  bool forced = false;         // the agent had killed it
};
struct WorkerSilent
{
  int slot = 0;
  std::string why;
};
// The node is to start its first workers.
struct WorkersWanted
{
};
// The agent was asked to go, or the user pressed a key.
struct StopRequest
{
  int signal = 0;
};
// The coordinator, or the agent itself, ends the job here: nothing is restarted any more.
struct JobEnd
{
  int exit_code = 0;
  bool use_worker_code = false;  // prefer the code of the worker that failed last
  std::string why;
};
// The last step of the job is complete: workers end by themselves, nobody is replaced.
struct JobDone
{
};
// All nodes start their workers (again). Only where several nodes agree on it; see
// SlotPolicyState::by_rounds.
struct RoundBegan
{
  std::uint64_t round = 0;
  bool with_us = true;  // false: the others go on without this node, until a round takes it in
};
using SlotEvent =
    std::variant<WorkersWanted, WorkerExit, WorkerSilent, StopRequest, JobEnd, JobDone, RoundBegan>;

struct SlotAction
{
  enum class Kind
  {
    kStart,        // spawn a worker in `slot` with `restart_count`
    kStop,         // SIGTERM, and SIGKILL after the shutdown timeout
    kKill,         // SIGKILL
    kGiveUp,       // say that `slot` stays empty from here on
    kAskForRound,  // ask all nodes to start all workers anew; RoundBegan follows
    kFinish,       // nothing runs any more; the agent ends with `exit_code`
  };
  Kind kind = Kind::kFinish;
  int slot = 0;
  int restart_count = 0;
  int exit_code = 0;
  std::string reason;
};

struct SlotState
{
  SlotPhase phase = SlotPhase::kRunning;
  int early_deaths = 0;  // deaths before a first applied step, elastic jobs only
  int starts = 1;
  int last_code = 0;
};

struct SlotPolicyState
{
  explicit SlotPolicyState(int slots, std::optional<int> max_restarts = std::nullopt)
      : slots(static_cast<std::size_t>(slots)), max_restarts(max_restarts)
  {
  }
  std::vector<SlotState> slots;
  std::optional<int> max_restarts;
  // Plain programs on several nodes: a restart is agreed on by all nodes.
  bool by_rounds = false;
  std::uint64_t round = 0;          // the newest that began
  std::uint64_t workers_round = 0;  // the one that the processes belong to
  bool job_done = false;
  JobKind kind = JobKind::kUndecided;
  bool anybody_registered = false;
  int group_restarts = 0;          // plain jobs
  bool restarting = false;         // plain: waiting for the last process before all start again
  std::optional<int> stop_signal;  // of a StopRequest
  bool forced_stop = false;        // a worker was killed because it did not leave after that
  std::optional<int> end_code;     // set once the job ends here
  bool use_worker_code = false;
  std::optional<int> failed_code;  // of the worker that failed last
  std::optional<int> late_code;    // of a worker that failed after the last step
  std::string end_reason;
  bool finished = false;  // kFinish was returned; later events are ignored
};

// Restarts that a slot (elastic) or the group (plain, undecided) may have.
int restart_limit(const SlotPolicyState& state);

std::vector<SlotAction> slot_policy(SlotPolicyState& state, const SlotEvent& event);

}  // namespace spillway
