// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "absl/status/status.h"

namespace spillway {

// Word on this host of a coordinator that is meant to come back at its port: it has been started by
// hand or has a store. Outlives a kill, so that an agent which finds nobody at the port waits for
// it instead of becoming a coordinator without its record.
struct CoordinatorMark
{
  int port = 0;
  std::int64_t pid = 0;
  std::string store;  // an absolute path, or "memory"
};

inline constexpr char kMarkFolderVariable[] = "SPILLWAY_RUNTIME_DIR";
inline constexpr char kMarkFolder[] = "/tmp";

// Where the mark of a port lies; one for each user.
std::string mark_path(const std::string& folder, int port);
// Replaces an older one. kUnavailable says why there is none.
absl::Status leave_mark(const std::string& folder, const CoordinatorMark& mark);
// Left by this user or by root; what others wrote is not believed.
std::optional<CoordinatorMark> find_mark(const std::string& folder, int port);
// If it is this process's.
void remove_own_mark(const std::string& folder, int port);

}  // namespace spillway
