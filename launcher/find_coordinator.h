// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <vector>

#include "absl/status/statusor.h"

namespace spillway {

// The port where a coordinator listens if nobody says otherwise.
inline constexpr int kDefaultPort = 29400;

// Sockets of the coordinators that standalone jobs of this user carry, those where somebody
// listens, in byte order. `temporary`: where SocketFolder makes its folders.
std::vector<std::string> carried_sockets(const std::string& temporary);

// Whom an operator means who names no address: the coordinator at the default port of this host,
// else the only standalone job. kInvalidArgument lists them if there are several.
absl::StatusOr<std::string> find_coordinator(const std::string& temporary);

}  // namespace spillway
