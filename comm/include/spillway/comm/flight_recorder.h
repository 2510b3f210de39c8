// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <mutex>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "spillway/base/clock.h"
#include "spillway/comm/types.h"

namespace spillway::comm {

enum class FlightState : std::uint8_t
{
  kQueued,
  kStarted,
  kDone,
  kAborted,  // ended by the abort word, a deadline, a lost peer or an error
};
absl::string_view name_of(FlightState state);

enum class Collective : std::uint8_t
{
  kAllReduce,
  kReduceScatter,
  kAllGather,
  kBroadcast
};
absl::string_view name_of(Collective collective);

// One collective as this member saw it. A time that has not come is MonotonicTime{}.
struct FlightRecord
{
  std::uint64_t sequence = 0;  // counts from 1 in this recorder
  OpName name;
  Collective collective = Collective::kAllReduce;
  DType dtype = DType::kFp32;  // meaningless for gather and broadcast, which move bytes
  std::uint64_t bytes = 0;
  FlightState state = FlightState::kQueued;
  MonotonicTime queued{};
  MonotonicTime started{};
  MonotonicTime ended{};
};

// The last collectives of one member, over all its groups. A ring of fixed size: writing never
// allocates nor waits for a reader longer than it takes to copy the ring. Safe from any thread, so
// that a watchdog can read it while the communication thread hangs.
class FlightRecorder
{
 public:
  explicit FlightRecorder(const Clock& clock, std::size_t capacity = 256);

  // The caller has decided to run a collective, but not begun it. Optional: a group that starts a
  // name which was queued goes on with that record, else it makes one.
  void queued(const OpName& name, Collective collective, DType dtype, std::uint64_t bytes);

  // For groups. `started` returns the record's sequence, which `ended` takes.
  std::uint64_t started(const OpName& name, Collective collective, DType dtype,
                        std::uint64_t bytes);
  void ended(std::uint64_t sequence, FlightState state);

  // Oldest first.
  std::vector<FlightRecord> records() const;
  // The same as a JSON array, one object per record, times in nanoseconds since boot.
  std::string json() const;

 private:
  FlightRecord& slot(std::uint64_t sequence) { return ring_[(sequence - 1) % ring_.size()]; }
  FlightRecord& append(const OpName& name, Collective collective, DType dtype, std::uint64_t bytes);

  const Clock& clock_;
  mutable std::mutex mutex_;
  std::vector<FlightRecord> ring_;
  std::uint64_t count_ = 0;
};

}  // namespace spillway::comm
