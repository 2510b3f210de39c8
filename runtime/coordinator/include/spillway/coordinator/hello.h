// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "spillway/base/clock.h"
#include "spillway/base/ids.h"
#include "spillway/coordinator/messages.h"

namespace spillway::coordinator {

// How processes introduce themselves and what they are told. Plain data.

// Raised with every change of a message that an older program would misread.
inline constexpr std::uint32_t kProtocolVersion = 1;
inline constexpr const char* kProgramVersion = "0.1.0";

// One registered tensor: what two replicas must agree on before they may average anything.
struct TensorSpec
{
  std::string name;
  std::string type;  // "float32", "bfloat16", …
  std::vector<std::int64_t> shape;
  friend bool operator==(const TensorSpec&, const TensorSpec&) = default;
};

// What a worker trains. Two workers of one job must be equal here.
struct JobSpec
{
  std::vector<TensorSpec> tensors;
  // Everything else that must agree, a line each in words: data, steps, bucket layout. This list
  // and the one above make a difference readable; the hash, over both and more, decides.
  std::vector<std::string> terms;
  std::uint64_t hash = 0;
  std::uint64_t global_batch = 0;
  std::uint64_t data_set_size = 0;
  // Device kind, CPU capability, thread count, libtorch build, in words.
  std::string arithmetic_class;
  friend bool operator==(const JobSpec&, const JobSpec&) = default;
};

// A worker's introduction. `node`, and `lineage` if it is zero, are filled in on the way.
struct WorkerHello
{
  std::string job;
  // The life of the job this worker believes in; zero takes the coordinator's.
  Lineage lineage;
  // Zero for a new process; a process that greets again keeps its id.
  WorkerId worker;
  NodeId node;
  SiteId site{1};
  std::uint32_t slot = 0;
  std::uint32_t restart_count = 0;
  std::int64_t pid = 0;
  std::string host;
  std::uint32_t protocol_version = kProtocolVersion;
  std::string program_version = kProgramVersion;
  std::string peer_address;  // where members connect to it, host:port
  std::uint32_t weight = 1;  // share of the data; relative
  JobSpec spec;
  // Of a process that greets again; a new one leaves both empty.
  MemberStatus status;
  std::vector<MemberInfo> members;  // of status.current, or of its newest number (P11)
  friend bool operator==(const WorkerHello&, const WorkerHello&) = default;
};

struct Welcome
{
  WorkerId worker;
  NodeId node;
  SiteId site{1};
  Lineage lineage;
  // How long a member may step without its heartbeat being acknowledged; shorter than the
  // coordinator's own.
  Duration lease = std::chrono::minutes(10);
  friend bool operator==(const Welcome&, const Welcome&) = default;
};

// How a worker's loop goes on, for its agent and for `spillway status`. Loss does no harm.
struct Telemetry
{
  StepId step;
  double step_seconds = 0;  // median of the last steps
  double samples_per_second = 0;
  std::uint64_t steps_aborted = 0;
  std::string doing;  // "training", "evaluate", "joining: copied 41 of 100 MB", …
  friend bool operator==(const Telemetry&, const Telemetry&) = default;
};

// What the agents of one job must agree on; the first agent's words hold.
struct JobOptions
{
  std::uint32_t nodes_min = 1;
  std::uint32_t nodes_max = 1;
  // Members below which no epoch is formed, and above which joiners wait.
  std::uint32_t workers_min = 1;
  std::uint32_t workers_max = 1;
  // The members' lease; the coordinator's is a tenth longer (P4).
  Duration lease = std::chrono::minutes(10);
  Duration join_timeout = std::chrono::seconds(600);
  // The first meeting is closed this long after the minimum is there, or at the maximum.
  Duration last_call = std::chrono::seconds(1);
  friend bool operator==(const JobOptions&, const JobOptions&) = default;
};

// An agent's introduction.
struct NodeHello
{
  std::string job;
  Lineage lineage;
  // Zero for a new agent; what it was told before when it comes back.
  NodeId node;
  // Random, of this agent process: a second agent cannot take over a node by naming its id.
  std::uint64_t session = 0;
  std::string host;
  std::int64_t pid = 0;
  // Where other nodes reach this one, and a port kept free for a program's own rendezvous.
  std::string address;
  std::uint32_t master_port = 0;
  std::uint32_t slots = 1;
  std::uint32_t protocol_version = kProtocolVersion;
  std::string program_version = kProgramVersion;
  JobOptions options;
  friend bool operator==(const NodeHello&, const NodeHello&) = default;
};

struct NodeWelcome
{
  NodeId node;
  SiteId site{1};
  Lineage lineage;
  std::uint64_t term = 0;
  Duration heartbeat = std::chrono::seconds(1);
  Duration lease = std::chrono::minutes(10);
  friend bool operator==(const NodeWelcome&, const NodeWelcome&) = default;
};

// One round of starting workers: which nodes take part, and with how many workers each. Programs
// that bring their own rendezvous (torchrun's environment contract) start from this; programs on
// the Spillway API read rank and size from it once, at their start.
struct Rendezvous
{
  struct Node
  {
    NodeId node;
    std::string address;
    std::uint32_t master_port = 0;
    std::uint32_t slots = 0;
    friend bool operator==(const Node&, const Node&) = default;
  };
  std::uint64_t round = 0;  // from 1; a higher one means: start all workers anew
  std::vector<Node> nodes;  // ascending id; the index is the group rank
  friend bool operator==(const Rendezvous&, const Rendezvous&) = default;
};

// How a worker's process ended, from its agent.
struct ExitReport
{
  int exit_code = 0;
  int signal = 0;  // 0 if it exited
  std::string last_words;
  friend bool operator==(const ExitReport&, const ExitReport&) = default;
};

}  // namespace spillway::coordinator
