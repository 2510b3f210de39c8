// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "absl/status/statusor.h"
#include "spillway/launcher/descriptor.h"

namespace spillway {

// A TCP port that nobody else on this host is given while this object lives: it stays bound, but
// not listening, with SO_REUSEADDR, so that a worker that sets SO_REUSEADDR too (as every store
// and server does) can listen there.
class PortReservation
{
 public:
  static absl::StatusOr<PortReservation> take();
  int port() const { return port_; }

 private:
  PortReservation(Descriptor socket, int port) : socket_(std::move(socket)), port_(port) {}
  Descriptor socket_;
  int port_;
};

}  // namespace spillway
