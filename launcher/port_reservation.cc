// SPDX-License-Identifier: Apache-2.0
#include "spillway/launcher/port_reservation.h"

#include <errno.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>

#include <fstream>

#include "absl/strings/str_cat.h"
#include "spillway/base/rng.h"

namespace spillway {
namespace {

constexpr int kMostTries = 64;
// From here up to where outgoing connections begin, ports are taken by servers only.
constexpr int kLowestPort = 10000;
constexpr const char* kOutgoingPorts = "/proc/sys/net/ipv4/ip_local_port_range";

struct Bound
{
  Descriptor socket;
  int port = 0;
};

// Port 0: any that is free. The socket is not valid if it is not.
Bound bind_port(int port)
{
  // Both families at once, where the machine has IPv6: stores listen on either.
  const int off = 0, on = 1;
  Descriptor fd(socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_in6 any6 = {};
  any6.sin6_family = AF_INET6;
  any6.sin6_port = htons(static_cast<std::uint16_t>(port));
  if (fd.valid() && setsockopt(fd.get(), IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof off) == 0 &&
      bind(fd.get(), reinterpret_cast<const sockaddr*>(&any6), sizeof any6) == 0)
  {
    socklen_t size = sizeof any6;
    getsockname(fd.get(), reinterpret_cast<sockaddr*>(&any6), &size);
    // Set after the bind, so that the port was free for everybody and not only for re-users.
    setsockopt(fd.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    return {std::move(fd), ntohs(any6.sin6_port)};
  }
  fd = Descriptor(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_in any4 = {};
  any4.sin_family = AF_INET;
  any4.sin_port = htons(static_cast<std::uint16_t>(port));
  if (!fd.valid() || bind(fd.get(), reinterpret_cast<const sockaddr*>(&any4), sizeof any4) != 0)
    return {};
  socklen_t size = sizeof any4;
  getsockname(fd.get(), reinterpret_cast<sockaddr*>(&any4), &size);
  setsockopt(fd.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  return {std::move(fd), ntohs(any4.sin_port)};
}

// The first of `count` ports below those of outgoing connections, which the ends of thousands of
// connections leave too full of holes for a run; 0, any that is free, if there is no such place.
int quiet_port(int count)
{
  int lowest_outgoing = 0;
  std::ifstream(kOutgoingPorts) >> lowest_outgoing;
  const int places = lowest_outgoing - count - kLowestPort;
  if (places <= 0) return 0;
  return kLowestPort + static_cast<int>(secure_random_u64() % static_cast<std::uint64_t>(places));
}

}  // namespace

absl::StatusOr<PortReservation> PortReservation::take_run(int count)
{
  for (int tries = 0; tries < 2 * kMostTries; ++tries)
  {
    Bound first = bind_port(tries < kMostTries ? quiet_port(count) : 0);
    if (!first.socket.valid()) continue;
    PortReservation out(first.port);
    out.sockets_.push_back(std::move(first.socket));
    while (static_cast<int>(out.sockets_.size()) < count)
    {
      const int port = out.port_ + static_cast<int>(out.sockets_.size());
      Bound next = port > 65535 ? Bound() : bind_port(port);
      if (!next.socket.valid()) break;
      out.sockets_.push_back(std::move(next.socket));
    }
    if (static_cast<int>(out.sockets_.size()) == count) return out;
  }
  return absl::ResourceExhaustedError(
      absl::StrCat("no ", count, " free TCP ports in a row for MASTER_PORT: ", strerror(errno)));
}

}  // namespace spillway
