// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace spillway::coordinator {

// "host:port", "[::1]:port" or "unix:/path", taken apart.
struct Address
{
  std::string host;  // empty for a UNIX socket
  int port = 0;
  std::string path;  // of a UNIX socket
  bool is_unix() const { return !path.empty(); }
  // As gRPC wants it.
  std::string target() const;
};

// kInvalidArgument says what an address looks like.
absl::StatusOr<Address> parse_address(absl::string_view text);

// True for localhost, 127.0.0.0/8, ::1 and UNIX sockets. Names are not resolved.
bool is_loopback(const Address& address);

}  // namespace spillway::coordinator
