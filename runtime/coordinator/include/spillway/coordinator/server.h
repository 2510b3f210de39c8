// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "spillway/coordinator/coordinator.h"

namespace spillway::coordinator {

struct ServerOptions
{
  // host:port (port 0: any free one), or unix:/path. The first is the one to tell others.
  std::vector<std::string> addresses{"127.0.0.1:29400"};
  // There is no encryption yet: without this only loopback and UNIX sockets are bound.
  bool insecure = false;
};

// The coordinator's gRPC door: agents' streams and operators' calls. Threads are gRPC's.
class Server
{
 public:
  // The coordinator outlives the server.
  //   kInvalidArgument     an address that cannot be read
  //   kFailedPrecondition  beyond loopback without `insecure`
  //   kUnavailable         an address in use, or not of this machine
  static absl::StatusOr<std::unique_ptr<Server>> listen(const ServerOptions& options,
                                                        Coordinator& coordinator);
  virtual ~Server() = default;
  // With the ports that were chosen.
  virtual const std::vector<std::string>& addresses() const = 0;
};

}  // namespace spillway::coordinator
