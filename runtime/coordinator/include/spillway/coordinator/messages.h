// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "spillway/base/clock.h"
#include "spillway/base/ids.h"
#include "spillway/coordinator/member_list.h"

namespace spillway {

// What coordinator and members say to each other (PROTOCOL.md, "Messages"). Plain data without a
// wire format: the service translates. Every message is fenced by lineage and number (P11).

// The full name of an epoch or plan for any count of sites; with one site both numbers are equal.
struct EpochName
{
  Lineage lineage;
  Number job_epoch;
  Number site_epoch;
  static EpochName one_site(Lineage lineage, Number number) { return {lineage, number, number}; }
  friend bool operator==(const EpochName&, const EpochName&) = default;
};

// Why a job or a worker's part in it is over. The launcher maps these to exit codes.
enum class EndReason : std::uint8_t
{
  kRunning = 0,
  kFinished,       // the control-only step after the last step is complete
  kReleased,       // this worker left by plan
  kTooFewMembers,  // below the minimum size for longer than the join timeout
  kStateLost,      // every holder of the newest state is known dead and there is no checkpoint
  kStopped,        // an operator or the launcher ended the job
};
const char* end_reason_name(EndReason reason);

// -------------------------------------------------------------------- coordinator to member

// Answer with the promise to complete nothing below this number (P3).
struct Abort
{
  EpochName name;
  friend bool operator==(const Abort&, const Abort&) = default;
};

// Who copies the base in an epoch formed after a fault: the shorter of the two lists is sent.
struct CopierSet
{
  bool lists_holders = false;  // `workers` are those who hold the base, all others copy
  std::vector<WorkerId> workers;
  friend bool operator==(const CopierSet&, const CopierSet&) = default;
};

// An epoch formed after a fault (or the first one). Also sent to those who are left out: they stop.
// So is a planned number, then without a base, to who comes back from before it.
struct EpochAnnouncement
{
  EpochName name;
  MemberListUpdate members;
  CopierSet copiers;
  StateName base;
  bool initial = false;  // base is the untouched initial state of the members that do not copy
  StepId last_step;      // of the job, if already agreed; else 0
  std::uint64_t cut_hash = 0;  // of cut(kReferenceBatch, …) in the first step
  friend bool operator==(const EpochAnnouncement&, const EpochAnnouncement&) = default;
};

// Planned numbers above the newest that urgent wishes may publish (P5): any of them may be entered,
// so members keep as many prepared, and one that replaces them because a member died.
inline constexpr std::size_t kMostPublished = 3;

// Prepare this number while training goes on (P5). Replaces every lower pending one.
struct PendingAnnouncement
{
  EpochName name;
  MemberListUpdate members;
  // Who would join if the switch came from the number that is active now; not binding (P7).
  std::vector<WorkerId> expected_joiners;
  friend bool operator==(const PendingAnnouncement&, const PendingAnnouncement&) = default;
};

// Try to reach this peer and say whether it worked (P14).
struct ProbeRequest
{
  EpochName name;
  MemberInfo peer;
  friend bool operator==(const ProbeRequest&, const ProbeRequest&) = default;
};

// The worker may go: nobody needs its links or its state any more (P6).
struct Release
{
  EpochName name;
  EndReason reason = EndReason::kReleased;
  std::string detail;
  friend bool operator==(const Release&, const Release&) = default;
};

using ControlMessage =
    std::variant<Abort, EpochAnnouncement, PendingAnnouncement, ProbeRequest, Release>;

// -------------------------------------------------------------------- member to coordinator

// A link of `number` to `peer` broke or hung. peer == the reporter: its own apply failed.
struct LinkFault
{
  Number number;
  WorkerId peer;
  friend bool operator==(const LinkFault&, const LinkFault&) = default;
};

// The whole truth about a member; the greeting after each (re)connection and every change of it.
// The answer Stopped(n, …) of P3 is a status with promised == n.
struct MemberStatus
{
  Lineage lineage;
  Number promised;   // nothing below this number will be voted, applied or entered
  Number installed;  // newest number whose base this member holds (applied or copied); 0: no state
  Number current;    // number it steps in; 0: none
  Number switched_from;  // of the newest of installed and current, if that was a planned number
  std::optional<StateName> applied;  // the state it holds
  std::optional<StateName> voted;    // step it voted whose reduced buckets it still keeps
  std::optional<LinkFault> fault;
  Number first_word;  // newest number whose first control word it saw
  Number done;        // number in which it completed the control-only step
  Number left;        // number that left it out, by plan
  bool wants_to_leave = false;
  bool leave_is_urgent = false;       // a notice with a deadline: worth replacing a pending number
  std::vector<WorkerId> unreachable;  // peers of a pending number it cannot connect to (P14)
  Number wants_list;                  // announced by changes against a list it lacks: send whole
  StepId last_step;                   // of the job, if it knows of an agreed end
  Number highest_seen;                // of any number it ever heard of (P11: adopting)
  friend bool operator==(const MemberStatus&, const MemberStatus&) = default;
};

// First message of a worker on each connection.
struct Hello
{
  WorkerId worker;                  // 0: a new process; the coordinator gives it an id
  MemberInfo info;                  // info.worker is ignored
  MemberStatus status;              // of a new process: empty
  std::vector<MemberInfo> members;  // of status.current, or of its newest number (P11)
};

// Of a ProbeRequest; `name` is of the number that its sender steps in.
struct ProbeResult
{
  EpochName name;
  WorkerId peer;
  bool reachable = false;
};

// Repeated each second by who waits, computes long or is busy, so that hangs are judged without a
// message per step (P13).
struct ProgressReport
{
  EpochName name;  // of the number that the step belongs to
  StepId step;     // begun last
  enum class Phase : std::uint8_t
  {
    kHandedIn,       // all own buckets handed in, waiting for others
    kComputing,      // has handed in nothing for `lasts`, which is long
    kBusy,           // inside busy("…"), still for `busy_limit` at most
    kHandedInZeros,  // as kHandedIn, of a step that its loop does not see because it joins
  } phase = Phase::kHandedIn;
  Duration p99_step{};
  Duration lasts{};
  Duration busy_limit{};
};

}  // namespace spillway
