// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "spillway/base/bytes.h"
#include "spillway/base/clock.h"
#include "spillway/comm/abort_word.h"
#include "spillway/comm/flight_recorder.h"
#include "spillway/comm/group.h"
#include "spillway/comm/types.h"

namespace spillway::comm {

// What connect gives: a group, or the reason and the peers that could not be reached.
struct ConnectOutcome
{
  std::unique_ptr<Group> group;
  absl::Status status;  // OK iff there is a group
  // Peers with which no pair could be made (P14). May be empty in a failure: then every own pair
  // stands, but a member could not reach another one, or the abort word ended the attempt.
  std::vector<WorkerId> unreachable;
};

// What happens to the links of connected groups. Called on the transport's own thread, one at a
// time; must return soon and not call into the transport. Never called for a group that was
// destroyed here before.
struct PeerEvents
{
  // The peer's process died, or its connection broke, without saying goodbye.
  std::function<void(Number, WorkerId)> on_peer_lost;
  // The peer destroyed its group of that number: it left in an orderly way.
  std::function<void(Number, WorkerId)> on_peer_closed;
};

// Serves one's own state to joiners. Called on the transport's threads, several at a time while the
// process computes. Fills `destination` with the bytes [offset, offset + destination.size()) of
// that state, or fails: kNotFound if that name is not held (any more), kOutOfRange.
using StateHandler =
    std::function<absl::Status(StateName name, std::uint64_t offset, MutableByteSpan destination)>;

struct TransportOptions
{
  std::string host = "127.0.0.1";  // where to listen; peers must reach it under this name
  std::uint16_t port = 0;          // 0: any free one
  PeerEvents events;
  StateHandler state_handler;  // empty: reads are refused
  const Clock* clock = &system_clock();
  std::size_t flight_records = 256;
};

struct RangeRequest
{
  Lineage lineage;
  Number number;  // on whose behalf: the abort word that covers it ends the read
  Member donor;
  StateName name;
  std::uint64_t offset = 0;
};

// One per process: its address, its groups, its state for others. Safe from any thread. Outlives
// its groups; owned by the engine.
class Transport
{
 public:
  virtual ~Transport() = default;

  // `host:port`, what Member::address holds at the others.
  virtual const std::string& address() const = 0;
  virtual absl::string_view backend() const = 0;

  // Builds the group of spec.number with all its members, who call this at about the same time.
  // Blocks until each pair is connected and everybody has said so, or the deadline, or the abort
  // word covers the number. A peer of another lineage, or one that has closed that number, refuses.
  // Several numbers may be connected at a time. `abort` outlives the group.
  virtual ConnectOutcome connect(const GroupSpec& spec, AbortWord& abort,
                                 MonotonicTime deadline) = 0;

  // Reads destination.size() bytes of a donor's state; each piece is checked against its hash.
  // kDataLoss names the donor and the range.
  virtual absl::Status read_range(const RangeRequest& request, MutableByteSpan destination,
                                  const CallOptions& options, AbortWord& abort) = 0;

  // Reaches the peer and has the peer reach us (P14). Neither needs to have had a group: a pair may
  // be unreachable before the first one stands. A peer of another lineage refuses.
  virtual absl::Status probe(Lineage lineage, const Member& peer, const CallOptions& options) = 0;

  virtual FlightRecorder& recorder() = 0;

  // For tests: drops all connections without goodbye, as the death of the process would.
  virtual void break_links_for_test() = 0;
};

// Members are threads of one process. Liveness, state reads and probes are the real ones, over TCP.
absl::StatusOr<std::unique_ptr<Transport>> make_loopback_transport(TransportOptions options);

// UCX. kUnimplemented, with the reason, in a build without it.
absl::StatusOr<std::unique_ptr<Transport>> make_ucx_transport(TransportOptions options);

// The best backend of this build for processes: UCX.
absl::StatusOr<std::unique_ptr<Transport>> make_transport(TransportOptions options);

}  // namespace spillway::comm
