// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "spillway/engine/engine.h"

namespace spillway::engine {

// What `spillway run` tells its workers in the environment.
struct WorkerEnvironment
{
  std::string job;                  // SPILLWAY_JOB
  std::string agent_socket;         // SPILLWAY_AGENT_SOCKET
  std::string host = "127.0.0.1";   // SPILLWAY_LOCAL_ADDR
  std::uint32_t slot = 0;           // SPILLWAY_SLOT
  std::uint32_t restart_count = 0;  // SPILLWAY_RESTART_COUNT
  std::string event_log_directory;  // SPILLWAY_EVENT_LOG_DIR; empty: none
};

//   kFailedPrecondition  not started by `spillway run`: says how to start a program
//   kInvalidArgument     a variable has a value that it cannot have
absl::StatusOr<WorkerEnvironment> read_worker_environment();

// The link to the agent and the transport that an engine of this process uses. Outlives the engine.
class ProcessServices
{
 public:
  static std::unique_ptr<ProcessServices> create(const WorkerEnvironment& environment);
  virtual ~ProcessServices() = default;
  virtual EngineServices services() = 0;
};

}  // namespace spillway::engine
