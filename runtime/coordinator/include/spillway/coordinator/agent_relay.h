// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "spillway/coordinator/node_session.h"

namespace spillway::coordinator {

// The agent's door for its workers: a gRPC server on a UNIX socket that hands what they say to
// the session and what the session has for them to them. Threads are gRPC's.
class AgentRelay
{
 public:
  // Creates `socket_path` (at most 107 bytes, kInvalidArgument otherwise), readable by this user
  // only, and removes it when destroyed. The session outlives the relay.
  static absl::StatusOr<std::unique_ptr<AgentRelay>> listen(const std::string& socket_path,
                                                            NodeSession& session);
  virtual ~AgentRelay() = default;
};

}  // namespace spillway::coordinator
