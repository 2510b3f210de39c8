// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "spillway/base/clock.h"
#include "spillway/base/ids.h"
#include "spillway/coordinator/messages.h"
#include "spillway/coordinator/rules.h"

namespace spillway {

// A worker's pure core: what one member may begin, vote, apply, enter and leave (PROTOCOL.md). No
// I/O, no clock, no threads: the engine (or the simulator) feeds events with the time and executes
// the actions in order, before the next event. One thread at a time; the engine guards it with
// its own lock and never blocks inside.

struct MemberConfig
{
  WorkerId self;
  Lineage lineage;
  std::size_t range_count = 1;  // ranges in which the state is copied; equal everywhere
  StepId last_step;             // of the job if fixed from the start; 0: not known
};

// -------------------------------------------------------------------- events

struct ControlReceived
{
  ControlMessage message;
};
// The link to the coordinator is up: it is greeted with the status in the SendStatus that follows.
struct ConnectionUp
{
};
struct ConnectionDown
{
};
// Until when this member may vote and apply without hearing from the coordinator: the sending
// time of the last acknowledged heartbeat plus the member's lease (P4). Never earlier than before.
struct LeaseExtended
{
  MonotonicTime until;
};
// The user's loop asks for its next step. Whatever it did for an unfinished one is void.
struct LoopReady
{
};
// Every bucket of the step is reduced on this member and kept.
struct BucketsReduced
{
  Number number;
  StepId step;
};
// The control word of the step is complete here: everybody voted.
struct WordComplete
{
  Number number;
  StepId step;
  Number min_prepared;
  Number max_prepared;
};
// The outcome of Apply or RollForward. Not ok: the state is gone (P15).
struct Applied
{
  StateName state;
  bool ok = true;
};
// A verified range of the state `state` lies in staging memory; InstallRange is the answer, or
// nothing: then it is dropped.
struct RangeArrived
{
  StateName state;
  std::size_t range = 0;
};
// Over the group of `number`, from a member that switched to it: this worker joins (P7).
struct BaseNamed
{
  Number number;
  Number switched_from;
  StateName base;
  StepId last_step;  // of the job, if agreed
  WorkerId from;
};
// The group of a pending number is connected: every member reachable and prepared to talk.
struct Prepared
{
  Number number;
};
// The peers of a pending number that cannot be reached now; replaces the earlier report. Empty:
// all can.
struct PeersUnreachable
{
  Number number;
  std::vector<WorkerId> peers;
};
struct LinkLost
{
  Number number;
  WorkerId peer;
  std::string reason;  // "closed", "no progress for 12 s", …
};
// SIGTERM or a notice: leave at a step boundary.
struct LeaveRequested
{
  bool urgent = false;
};
// All members agreed, by a complete control word, that this is the last step. Fed before the
// Applied of that word's step, since what follows may begin at once.
struct LastStepAgreed
{
  StepId step;
};
struct ProbeFinished
{
  WorkerId peer;
  bool reachable = false;
};
using MemberEvent =
    std::variant<ControlReceived, ConnectionUp, ConnectionDown, LeaseExtended, LoopReady,
                 BucketsReduced, WordComplete, Applied, RangeArrived, BaseNamed, Prepared,
                 PeersUnreachable, LinkLost, LeaveRequested, LastStepAgreed, ProbeFinished>;

// -------------------------------------------------------------------- actions

struct SendStatus
{
  MemberStatus status;
};
struct SendProbeResult
{
  ProbeResult result;
};
// Connect the group of a pending number beside the current one; keep trying until Prepared or
// DropNumber, and report whom it cannot reach. Not emitted to who is left out by the number.
struct Prepare
{
  Number number;
  MemberListPtr members;
};
// A pending number ended: its half-made or made group goes away.
struct DropPrepared
{
  Number number;
};
// Stop stepping in the number at once: raise its abort word, end the loop's step early. The
// buckets of status().voted are kept, all other work on the step is void. Its links stay open
// until EnterEpoch or StandAside: a peer that has not promised yet would report a closed one as
// a fault, and two live workers as a pair that cannot reach each other. May come twice.
struct StopNumber
{
  Number number;
};
// A formed epoch begins: close the groups of all lower numbers, make this one's. What cannot
// connect is LinkLost of this number.
struct EnterEpoch
{
  Number number;
  MemberListPtr members;
  StateName base;
  std::vector<WorkerId> copiers;
};
// At a step boundary, without a fault: the group of `number` (prepared) takes over. The old one
// is progressed until CloseNumber. `joiners` are to be sent BaseNamed over the new group.
struct SwitchTo
{
  Number number;
  Number switched_from;
  MemberListPtr members;
  StateName base;
  std::vector<WorkerId> joiners;
  StepId last_step;
};
// This worker joined `number` (it heard BaseNamed): its prepared group becomes current.
struct JoinNumber
{
  Number number;
  Number switched_from;
  MemberListPtr members;
  StateName base;
};
// The number's transport is over, except towards `keep`: leavers close it themselves (P6).
struct CloseNumber
{
  Number number;
  std::vector<WorkerId> keep;
};
// A planned number without this worker is active: serve and progress until Exit.
struct LeaveNumber
{
  Number number;
};
// A formed epoch leaves this worker out: it waits as a joiner, its state is only cached ranges.
struct StandAside
{
  Number epoch;
};
// Copy the base in ranges from the donors; ranges already held under this name are listed.
struct CopyBase
{
  Number number;
  StateName base;
  std::vector<WorkerId> donors;
  std::vector<bool> have;
};
// Write the staged range into the state, now: from the first one on the old state is gone.
struct InstallRange
{
  StateName state;
  std::size_t range = 0;
  bool completes = false;  // the state now is `state`, whole and verified
};
// Stop copying: another base, or none.
struct StopCopying
{
};
// This worker's own initial state is the base (the first epoch's lowest worker).
struct AdoptInitialState
{
  StateName base;
};
struct BeginStep
{
  StepName name;
  bool contributes_zeros = false;  // done by the runtime; the loop is not asked (P7)
  bool control_only = false;       // the step after the last: votes, nothing else
  bool first_of_number = false;
  MemberListPtr members;
  // Ascending; they get nothing in this step's cut. A joiner knows only of itself, and needs no
  // more: it gets nothing either.
  std::vector<WorkerId> copiers;
};
// Hand in the control word; it names the newest number this member has prepared (0: none).
struct CastVote
{
  StepName name;
  Number prepared;
};
// Apply the reduced step exactly once, then Applied. Control messages wait meanwhile, inside the
// core.
struct Apply
{
  StepName name;
  StateName state;
};
// Apply the base from this worker's own kept buckets, then Applied (P2).
struct RollForward
{
  StateName state;
};
// The control-only step is complete: wait for Exit.
struct Finished
{
  Number number;
};
struct Exit
{
  EndReason reason = EndReason::kFinished;
  std::string detail;
};
struct ProbePeer
{
  Lineage lineage;
  MemberInfo peer;
};
// What was decided and why, for the log.
struct MemberDecision
{
  std::string rule;
  std::string text;
};
// A rule was broken; with all rules on this is our own bug and the engine ends the process.
struct RuleBroken
{
  std::string text;
};
using MemberAction =
    std::variant<SendStatus, SendProbeResult, Prepare, DropPrepared, StopNumber, EnterEpoch,
                 SwitchTo, JoinNumber, CloseNumber, LeaveNumber, StandAside, CopyBase, InstallRange,
                 StopCopying, AdoptInitialState, BeginStep, CastVote, Apply, RollForward, Finished,
                 Exit, ProbePeer, MemberDecision, RuleBroken>;

class MemberCore
{
 public:
  // `observer` may be nullptr and outlives this.
  explicit MemberCore(MemberConfig config, ProtocolRules rules = {},
                      BranchObserver* observer = nullptr);
  ~MemberCore();
  MemberCore(MemberCore&&) noexcept;
  MemberCore& operator=(MemberCore&&) noexcept;

  std::vector<MemberAction> step(const MemberEvent& event, MonotonicTime now);

  // For the greeting; equal to what the last SendStatus would say now.
  const MemberStatus& status() const;
  // Members of the current number, or of none: nullptr.
  MemberListPtr members() const;
  // The number it steps in; 0: none.
  Number current() const;
  // Promised a number above the current one: steps nowhere.
  bool stopped() const;
  // What it may serve to copiers now: not while it applies.
  std::optional<StateName> serves() const;
  // The lease ran out: it holds, and goes on when the lease is extended.
  bool holds_for_lease(MonotonicTime now) const;

 private:
  class Impl;
  std::unique_ptr<Impl> impl_;
};

// All names that a MemberCore can report to a BranchObserver.
std::vector<const char*> member_branch_names();

}  // namespace spillway
