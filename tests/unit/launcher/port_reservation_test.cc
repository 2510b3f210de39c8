// SPDX-License-Identifier: Apache-2.0
#include "spillway/launcher/port_reservation.h"

#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <cerrno>
#include <fstream>
#include <set>
#include <vector>

namespace spillway {
namespace {

int bind_error(int port)
{
  const Descriptor fd(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_in any = {};
  any.sin_family = AF_INET;
  any.sin_port = htons(static_cast<std::uint16_t>(port));
  return bind(fd.get(), reinterpret_cast<const sockaddr*>(&any), sizeof any) == 0 ? 0 : errno;
}

// Of thousands of connections that have just ended each keeps a port of theirs for a minute, so
// that eight in a row are hard to find there.
TEST(PortReservation, RunsLieBelowThePortsOfOutgoingConnections)
{
  int lowest_outgoing = 0;
  std::ifstream("/proc/sys/net/ipv4/ip_local_port_range") >> lowest_outgoing;
  for (int i = 0; i < 50; ++i)
  {
    const auto run = PortReservation::take_run(kPortsOfANode);
    ASSERT_TRUE(run.ok()) << run.status();
    EXPECT_GE(run->port(), 1024);
    EXPECT_TRUE(lowest_outgoing <= 20000 || run->port() + kPortsOfANode <= lowest_outgoing);
    for (int k = 0; k < kPortsOfANode; ++k) EXPECT_EQ(bind_error(run->port() + k), EADDRINUSE);
  }
}

TEST(PortReservation, ReservationsDoNotOverlap)
{
  std::vector<PortReservation> all;
  std::set<int> ports;
  for (int i = 0; i < 60; ++i)
  {
    auto run = PortReservation::take_run(kPortsOfANode);
    ASSERT_TRUE(run.ok()) << run.status();
    for (int k = 0; k < kPortsOfANode; ++k) EXPECT_TRUE(ports.insert(run->port() + k).second);
    all.push_back(*std::move(run));
  }
}

}  // namespace
}  // namespace spillway
