// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

// Where this host is and who listens on it. Nothing here waits longer than a name server does.
namespace spillway {

std::string host_name();
// HOST:PORT, or [V6]:PORT.
std::string endpoint_text(const std::string& host, int port);
// The name or address is one of this host's.
bool is_this_host(const std::string& host);
// Somebody takes connections there; only asked about this host, where the answer comes at once.
bool somebody_listens(const std::string& host, int port);
// The same for the UNIX socket at `path`.
bool somebody_listens_at(const std::string& path);
// The address of this host that its packets to there carry; loopback for loopback.
std::string own_address_towards(const std::string& host, int port);

}  // namespace spillway
