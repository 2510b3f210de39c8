// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <string>
#include <variant>
#include <vector>

#include "absl/status/status.h"
#include "spillway/launcher/exit_reason.h"

namespace spillway {

// What an agent hears about its job, in the order in which it became true.
struct RoundAnnounced
{
  struct Node
  {
    std::string address;
    int master_port = 0;
    int slots = 0;
  };
  std::uint64_t round = 0;
  std::vector<Node> nodes;
  int own_index = -1;  // -1: this node takes no part in the round
};
struct WorkerRegistered
{
  pid_t pid = 0;
  pid_t said = 0;  // the process that uses the API: behind a script it is another one
};
// Its link to the agent ended; its process is still there.
struct WorkerUnlinked
{
  pid_t pid = 0;
};
struct WorkerApplied
{
  pid_t pid = 0;
};
struct WorkerReleased
{
  pid_t pid = 0;
  bool left = false;  // by plan; otherwise the job is done
};
struct WorkerRefused
{
  pid_t pid = 0;
  absl::Status why;
};
struct EvictionOrdered
{
  pid_t pid = 0;
  std::string why;
};
struct JobOverHeard
{
  bool done = false;  // the last step is complete
  int exit_code = 0;
  bool use_worker_code = false;
  std::string why;
};
// The job refuses this node, for good.
struct NodeRefused
{
  absl::Status why;
};
using JobEvent =
    std::variant<RoundAnnounced, WorkerRegistered, WorkerUnlinked, WorkerApplied, WorkerReleased,
                 WorkerRefused, EvictionOrdered, JobOverHeard, NodeRefused>;

// The agent's side of its job: what it learns from the coordinator and its workers, and what it
// reports. The agent calls it from its own thread; implementations wake the agent when there is
// something to take().
class JobControl
{
 public:
  virtual ~JobControl() = default;
  virtual std::vector<JobEvent> take() = 0;
  // Where workers reach the runtime.
  virtual std::string agent_socket() const = 0;
  virtual void report_exited(pid_t pid, const ExitReason& reason,
                             const std::string& last_words) = 0;
  virtual void report_silent(pid_t pid, const std::string& why) = 0;
  // True when the worker uses the API and was asked; otherwise it has to be signalled.
  virtual bool request_leave(pid_t pid) = 0;
  virtual void request_restart(std::uint64_t failed_round, const std::string& why) = 0;
  virtual void farewell(bool fatal, int exit_code, const std::string& why) = 0;
  // Other nodes that still need what this process carries (the coordinator).
  virtual int nodes_to_wait_for() = 0;
};

}  // namespace spillway
