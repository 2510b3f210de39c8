// SPDX-License-Identifier: Apache-2.0
#include "spillway/launcher/port_reservation.h"

#include <errno.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>

#include "absl/strings/str_cat.h"

namespace spillway {

absl::StatusOr<PortReservation> PortReservation::take()
{
  // Both families at once, where the machine has IPv6: stores listen on either.
  const int off = 0, on = 1;
  Descriptor fd(socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_in6 any6 = {};
  any6.sin6_family = AF_INET6;
  if (fd.valid() && setsockopt(fd.get(), IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof off) == 0 &&
      bind(fd.get(), reinterpret_cast<const sockaddr*>(&any6), sizeof any6) == 0)
  {
    socklen_t size = sizeof any6;
    getsockname(fd.get(), reinterpret_cast<sockaddr*>(&any6), &size);
    // Set after the bind, so that the port was free for everybody and not only for re-users.
    setsockopt(fd.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    return PortReservation(std::move(fd), ntohs(any6.sin6_port));
  }
  fd = Descriptor(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_in any4 = {};
  any4.sin_family = AF_INET;
  if (!fd.valid() || bind(fd.get(), reinterpret_cast<const sockaddr*>(&any4), sizeof any4) != 0)
    return absl::ResourceExhaustedError(
        absl::StrCat("no free TCP port for MASTER_PORT: ", strerror(errno)));
  socklen_t size = sizeof any4;
  getsockname(fd.get(), reinterpret_cast<sockaddr*>(&any4), &size);
  setsockopt(fd.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  return PortReservation(std::move(fd), ntohs(any4.sin_port));
}

}  // namespace spillway
