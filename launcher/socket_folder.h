// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <string>

#include "absl/status/statusor.h"

namespace spillway {

// A folder of this user alone for the sockets of one agent; removed with them.
class SocketFolder
{
 public:
  // In `temporary`, or in /tmp if a socket's path would become too long there. Removes what agents
  // that were killed have left behind there.
  static absl::StatusOr<SocketFolder> create(const std::string& temporary);
  SocketFolder(SocketFolder&& other) noexcept : path_(std::move(other.path_))
  {
    other.path_.clear();
  }
  SocketFolder& operator=(SocketFolder&&) = delete;
  ~SocketFolder();
  std::string socket(const std::string& name) const { return path_ + "/" + name + ".sock"; }

 private:
  explicit SocketFolder(std::string path) : path_(std::move(path)) {}
  std::string path_;
};

// Removes folders of this user whose sockets nobody listens at, if they are older than `age`.
void remove_dead_folders(const std::string& temporary, std::chrono::seconds age);

}  // namespace spillway
