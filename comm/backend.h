// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "peer/channel.h"
#include "spillway/comm/transport.h"

namespace spillway::comm {

// What a backend's group needs beside its own endpoint. The group owns the links.
struct GroupParts
{
  GroupSpec spec;
  std::unique_ptr<LinkSet> links;
  AbortWord* abort = nullptr;
  FlightRecorder* recorder = nullptr;
  const Clock* clock = nullptr;
};

// One number at one member while it is connected. Used by the thread that connects.
class Endpoint
{
 public:
  virtual ~Endpoint() = default;
  // What the peers need to reach this endpoint; travels over the peer channel.
  virtual std::string blob() = 0;
  // All pairs are linked; `blobs` by rank. May begin to exchange; must not block on peers.
  virtual absl::Status begin(const GroupSpec& spec, const std::vector<std::string>& blobs) = 0;
  // Moves the exchange; true once this side has heard every peer and needs nobody any more.
  virtual absl::StatusOr<bool> advance() = 0;
  // Peers not heard yet, when the deadline ends the attempt.
  virtual std::vector<WorkerId> silent() const = 0;
  virtual std::unique_ptr<Group> finish(GroupParts parts) && = 0;
};

class Backend
{
 public:
  virtual ~Backend() = default;
  virtual absl::string_view name() const = 0;
  virtual absl::StatusOr<std::unique_ptr<Endpoint>> prepare(const GroupSpec& spec) = 0;
  // After a number was connected: time to make something ahead for the next one.
  virtual void replenish() {}
};

// The Transport of every backend: peer channel, state server and flight recorder around it.
absl::StatusOr<std::unique_ptr<Transport>> make_peer_transport(TransportOptions options,
                                                               std::unique_ptr<Backend> backend);

}  // namespace spillway::comm
