// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>
#include <variant>
#include <vector>

#include "absl/status/status.h"
#include "spillway/coordinator/hello.h"
#include "spillway/coordinator/messages.h"

namespace spillway::coordinator {

// What worker, agent and coordinator say on the wire, as plain data; the protobuf files mirror
// these types one to one.

// One worker process as its agent knows it: never reused in the life of the agent.
using LinkId = StrongId<struct LinkTag>;

// -------------------------------------------------------------------- worker to agent, upwards

// A status, and the members of its number when they changed.
struct StatusUpdate
{
  MemberStatus status;
  bool has_members = false;
  std::vector<MemberInfo> members;
  friend bool operator==(const StatusUpdate&, const StatusUpdate&) = default;
};
using WorkerMessage =
    std::variant<WorkerHello, StatusUpdate, ProgressReport, ProbeResult, Telemetry>;

// -------------------------------------------------------------------- coordinator to worker

struct Refusal
{
  absl::Status status;
};
// The coordinator has acknowledged the heartbeat that was sent then, on this machine's clock.
struct Acknowledged
{
  MonotonicTime sent_at;
};
struct LinkState
{
  bool up = false;
  absl::Status why;
};
struct LeaveRequest
{
  bool urgent = false;
};
using WorkerOrder =
    std::variant<Welcome, Refusal, ControlMessage, Acknowledged, LinkState, LeaveRequest>;

// -------------------------------------------------------------------- agent to coordinator

struct Heartbeat
{
  std::uint64_t sequence = 0;
};
struct FromWorker
{
  LinkId link;
  WorkerMessage message;
};
// What the agent saw of a worker's process. `worker` is zero if it never got an id.
struct WorkerFate
{
  enum class Kind : std::uint8_t
  {
    kDisconnected,  // its connection closed, the process may live
    kSilent,        // stuck or stopped; counts as not answering
    kExited,        // reaped: known dead
  } kind = Kind::kDisconnected;
  LinkId link;
  WorkerId worker;
  std::string reason;
  ExitReport exit;  // of kExited
};
// Workers of a program without the API died: start all workers of the job anew.
struct RestartWanted
{
  std::uint64_t round = 0;  // the one that failed
  std::string reason;
};
// The agent ends: its workers are reaped. `fatal`: it gives up, and so does the job.
struct NodeFarewell
{
  bool fatal = false;
  std::string reason;
  ExitReport exit;
};
using NodeMessage =
    std::variant<NodeHello, Heartbeat, FromWorker, WorkerFate, RestartWanted, NodeFarewell>;

// -------------------------------------------------------------------- coordinator to agent

struct HeartbeatAck
{
  std::uint64_t sequence = 0;
};
struct ToWorkers
{
  std::vector<LinkId> links;  // one content for many
  WorkerOrder order;
};
// Dump the worker's stacks, kill and reap it, then report it exited (P12).
struct EvictOrder
{
  LinkId link;
  WorkerId worker;
  std::string reason;
};
struct JobOver
{
  EndReason reason = EndReason::kFinished;
  std::string detail;
  ExitReport exit;  // of the worker that ended it, if one did
};
using NodeOrder =
    std::variant<NodeWelcome, Refusal, HeartbeatAck, ToWorkers, EvictOrder, Rendezvous, JobOver>;

}  // namespace spillway::coordinator
