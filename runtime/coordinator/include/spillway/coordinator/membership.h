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
#include "spillway/coordinator/job_record.h"
#include "spillway/coordinator/messages.h"
#include "spillway/coordinator/rules.h"

namespace spillway {

// The coordinator's pure core for one job: who is a member, under which number, from which base
// (PROTOCOL.md). No I/O, no clock, no threads: a driver feeds events with the time and executes
// the actions in order. One thread at a time; the driver owns it.

struct MembershipConfig
{
  std::size_t min_members = 1;
  std::size_t max_members = 1;
  bool others_may_come = true;  // else the job ends when everybody was asked to leave
  Duration last_call = std::chrono::seconds(30);        // at the start, from min to max members
  Duration silence_timeout = std::chrono::seconds(3);   // disconnected this long: judged silent
  Duration reconnect_grace = std::chrono::seconds(15);  // the same, counted from a restart
  Duration lease = std::chrono::minutes(11);            // silent this long: known dead; must be
                                                        // longer than the members' lease (P4)
  Duration join_timeout = std::chrono::seconds(600);    // below min_members this long: ends
  Duration progress_floor = std::chrono::seconds(30);   // P13: max(floor, 10 × p99)
  Duration joiners_floor = std::chrono::minutes(10);    // P13: only who joins waits
  Duration nobody_floor = std::chrono::seconds(60);     // P13: nobody hands in: say so
  Duration probe_interval = std::chrono::seconds(1);    // P14, doubles up to probe_interval_max
  Duration probe_interval_max = std::chrono::seconds(60);
  std::size_t kept_decisions = 64;
};

// -------------------------------------------------------------------- events

// A worker's first message on a connection; `token` comes back in Accept or Refuse. A worker that
// is still thought connected is disconnected first by the driver.
struct WorkerGreeted
{
  std::uint64_t token = 0;
  Hello hello;
};
struct StatusReported
{
  WorkerId worker;
  MemberStatus status;
};
struct WorkerDisconnected
{
  WorkerId worker;
};
// Its agent finds it stuck and will kill it, or its agent is silent: it counts as not answering,
// not as dead, until it greets again. What else it still says must not be fed (P12).
struct WorkerSilent
{
  WorkerId worker;
  std::string reason;
};
// Its agent reaped it, the provider says terminated, or an operator says `abandon`: known dead.
struct WorkerExited
{
  WorkerId worker;
  std::string reason;
};
struct ProgressReported
{
  WorkerId worker;
  ProgressReport report;
};
struct ProbeReported
{
  WorkerId worker;
  ProbeResult result;
};
// Publishes a number with the members of now (a changed plan); `urgent` replaces a pending one.
struct PlanRequested
{
  std::string reason;
  bool urgent = false;
};
// Operator: serve this lineage although the store has no record of it (P11).
struct AdoptRequested
{
  Lineage lineage;
};
struct EndRequested
{
  std::string reason;
};
// Every node of the job is told to go, for a while now: nobody will take a state over.
struct AllNodesLeave
{
};
// Time passed; due when now >= next_deadline().
struct Tick
{
};
using MembershipEvent =
    std::variant<WorkerGreeted, StatusReported, WorkerDisconnected, WorkerSilent, WorkerExited,
                 ProgressReported, ProbeReported, PlanRequested, AdoptRequested, EndRequested,
                 AllNodesLeave, Tick>;

// -------------------------------------------------------------------- actions

// Must be durable before any later action is executed. If the store fails the driver holds all
// later actions and events (bounded) and retries.
struct Persist
{
  JobRecordPtr record;
};
struct Send
{
  std::vector<WorkerId> to;  // all connected; one content
  ControlMessage message;
};
struct Accept
{
  std::uint64_t token = 0;
  WorkerId worker;
  Lineage lineage;
};
struct Refuse
{
  std::uint64_t token = 0;
  absl::Status status;
};
// Its agent is asked to dump its stacks, kill and reap it, and then to report it exited (P12).
struct Evict
{
  WorkerId worker;
  std::string reason;
};
struct Decision
{
  std::string rule;  // "P4", "detail 5", …
  std::string text;  // the reason in words
};
// A worker of this lineage knows what the record does not: the record is an older copy, or has lost
// its end. Whoever goes on from it gives numbers a second time; nothing may be served from it.
struct RecordIsOld
{
  std::string why;
};
// The job is over; everybody has been sent Release, later greeters get it too.
struct JobEnded
{
  EndReason reason = EndReason::kFinished;
  std::string detail;
};
using MembershipAction =
    std::variant<Persist, Send, Accept, Refuse, Evict, Decision, RecordIsOld, JobEnded>;

// -------------------------------------------------------------------- what an operator sees

struct MembershipExplanation
{
  struct Member
  {
    MemberInfo info;
    bool in_epoch = false;
    bool connected = false;
    bool silent = false;
    bool dead = false;
    bool leaving = false;
    MemberStatus status;  // last reported
  };
  struct Past
  {
    MonotonicTime when;
    Decision decision;
  };
  Lineage lineage;
  Number epoch;
  Number pending;
  Number open_abort;
  EndReason ended = EndReason::kRunning;
  std::vector<Member> members;        // of the epoch and everybody connected, ascending
  std::vector<WorkerId> waiting_for;  // who is missing for the next decision
  std::string next;                   // what happens next, and what it waits for, in words
  std::vector<std::string> advice;    // commands an operator may use now
  std::vector<Past> decisions;        // newest last, at most kept_decisions
  std::vector<std::pair<WorkerId, WorkerId>> unreachable_pairs;
};

class MembershipCore
{
 public:
  // `record`: what the store holds, or nullopt for a job it never heard of. `lineage` is drawn by
  // the driver and used only if the job is born here. `observer` may be nullptr and outlives this.
  MembershipCore(MembershipConfig config, std::optional<JobRecord> record, Lineage lineage,
                 MonotonicTime now, ProtocolRules rules = {}, BranchObserver* observer = nullptr);
  ~MembershipCore();
  MembershipCore(MembershipCore&&) noexcept;
  MembershipCore& operator=(MembershipCore&&) noexcept;

  // Never fails: an event that makes no sense is dropped with a Decision that says why. `now`
  // never goes backwards.
  std::vector<MembershipAction> step(const MembershipEvent& event, MonotonicTime now);

  // When a Tick is due; kForever if nothing waits for time alone.
  MonotonicTime next_deadline() const;

  MembershipExplanation explain(MonotonicTime now) const;
  const JobRecord& record() const;
  // Who wants to leave, if all members that are heard do; else nobody.
  std::vector<WorkerId> leaving_altogether() const;

 private:
  class Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace spillway
