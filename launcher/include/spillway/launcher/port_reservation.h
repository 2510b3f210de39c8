// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <vector>

#include "absl/status/statusor.h"
#include "spillway/launcher/descriptor.h"

namespace spillway {

// TCP ports that nobody else on this host is given while this object lives: they stay bound, but
// not listening, with SO_REUSEADDR, so that a worker that sets SO_REUSEADDR too (as every store
// and server does) can listen there.
class PortReservation
{
 public:
  static absl::StatusOr<PortReservation> take() { return take_run(1); }
  // `count` ports in a row, port() being the first. Tries a bounded number of places.
  static absl::StatusOr<PortReservation> take_run(int count);
  int port() const { return port_; }

 private:
  explicit PortReservation(int port) : port_(port) {}
  std::vector<Descriptor> sockets_;
  int port_;
};

// What the nodes of a job agree on without a word: each reserves a run of this many ports, and the
// first node's serve the rounds in turn, so that a restart never meets the port of the attempt
// before, on which somebody may still listen.
inline constexpr int kPortsOfANode = 8;
constexpr int port_of_round(int first_port, std::uint64_t round)
{
  return first_port + static_cast<int>((round - 1) % kPortsOfANode);
}

}  // namespace spillway
