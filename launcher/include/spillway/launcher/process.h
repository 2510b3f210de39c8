// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <sys/types.h>

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "spillway/launcher/descriptor.h"
#include "spillway/launcher/exit_reason.h"

namespace spillway {

struct SpawnRequest
{
  std::vector<std::string> argv;         // argv[0] is the path, already resolved
  std::vector<std::string> environment;  // "NAME=value", complete
  int stdout_fd = 1;
  int stderr_fd = 2;
};

struct ChildProcess
{
  pid_t pid = -1;  // also the id of its process group
  Descriptor pidfd;
};

// Starts a program in a process group of its own, with no signal blocked or ignored, stdin from
// /dev/null and no other descriptor of ours. The kernel kills it when the calling *thread* ends, so
// call it from a thread that lives as long as the process. kPermissionDenied and kNotFound when the
// program cannot be run, kResourceExhausted when the machine has no room for a process.
absl::StatusOr<ChildProcess> spawn(const SpawnRequest& request);

// The reason if the child has ended; kills what is left of its group and reaps it.
std::optional<ExitReason> reap(const ChildProcess& child);

// A small process beside the agent that holds the list of process groups, and kills them all when
// the agent is gone, however it went: grandchildren are not covered by the kernel's parent-death
// signal. Create before any thread exists.
class Guardian
{
 public:
  static absl::StatusOr<std::unique_ptr<Guardian>> create();
  ~Guardian();
  Guardian(const Guardian&) = delete;
  Guardian& operator=(const Guardian&) = delete;
  void add(pid_t group);
  void remove(pid_t group);

 private:
  Guardian(Descriptor pipe, pid_t pid) : pipe_(std::move(pipe)), pid_(pid) {}
  Descriptor pipe_;
  pid_t pid_;
};

}  // namespace spillway
