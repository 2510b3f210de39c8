// SPDX-License-Identifier: Apache-2.0
#include "spillway/comm/flight_recorder.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "spillway/base/check.h"

namespace spillway::comm {

absl::string_view name_of(FlightState state)
{
  switch (state)
  {
    case FlightState::kQueued:
      return "queued";
    case FlightState::kStarted:
      return "started";
    case FlightState::kDone:
      return "done";
    case FlightState::kAborted:
      return "aborted";
  }
  return "unknown state";
}

absl::string_view name_of(Collective collective)
{
  switch (collective)
  {
    case Collective::kAllReduce:
      return "all_reduce";
    case Collective::kReduceScatter:
      return "reduce_scatter";
    case Collective::kAllGather:
      return "all_gather";
    case Collective::kBroadcast:
      return "broadcast";
  }
  return "unknown collective";
}

FlightRecorder::FlightRecorder(const Clock& clock, std::size_t capacity)
    : clock_(clock), ring_(capacity)
{
  SPILLWAY_CHECK(capacity > 0);
}

FlightRecord& FlightRecorder::append(const OpName& name, Collective collective, DType dtype,
                                     std::uint64_t bytes)
{
  const std::uint64_t sequence = ++count_;
  FlightRecord& record = slot(sequence);
  record = FlightRecord{.sequence = sequence,
                        .name = name,
                        .collective = collective,
                        .dtype = dtype,
                        .bytes = bytes,
                        .queued = clock_.now()};
  return record;
}

void FlightRecorder::queued(const OpName& name, Collective collective, DType dtype,
                            std::uint64_t bytes)
{
  const std::lock_guard lock(mutex_);
  append(name, collective, dtype, bytes);
}

std::uint64_t FlightRecorder::started(const OpName& name, Collective collective, DType dtype,
                                      std::uint64_t bytes)
{
  const std::lock_guard lock(mutex_);
  // A queued record is among the newest ones: the caller queues at most a step's buckets.
  const std::uint64_t kept = std::min<std::uint64_t>(count_, ring_.size());
  for (std::uint64_t sequence = count_; sequence > count_ - kept; --sequence)
  {
    FlightRecord& record = slot(sequence);
    if (record.state != FlightState::kQueued || record.name != name ||
        record.collective != collective)
      continue;
    record.state = FlightState::kStarted;
    record.started = clock_.now();
    return sequence;
  }
  FlightRecord& record = append(name, collective, dtype, bytes);
  record.state = FlightState::kStarted;
  record.started = record.queued;
  return record.sequence;
}

void FlightRecorder::ended(std::uint64_t sequence, FlightState state)
{
  const std::lock_guard lock(mutex_);
  FlightRecord& record = slot(sequence);
  if (record.sequence != sequence) return;  // the ring has gone round meanwhile
  record.state = state;
  record.ended = clock_.now();
}

std::vector<FlightRecord> FlightRecorder::records() const
{
  const std::lock_guard lock(mutex_);
  std::vector<FlightRecord> result;
  const std::uint64_t kept = std::min<std::uint64_t>(count_, ring_.size());
  result.reserve(kept);
  for (std::uint64_t sequence = count_ - kept + 1; sequence <= count_; ++sequence)
    result.push_back(ring_[(sequence - 1) % ring_.size()]);
  return result;
}

std::string FlightRecorder::json() const
{
  std::string out = "[";
  for (const FlightRecord& record : records())
  {
    const bool typed = record.collective == Collective::kAllReduce ||
                       record.collective == Collective::kReduceScatter;
    absl::StrAppend(&out, out.size() == 1 ? "\n" : ",\n", "{\"sequence\":", record.sequence,
                    ",\"epoch\":", record.name.epoch.value(),
                    ",\"step\":", record.name.step.value(), ",\"index\":", record.name.index,
                    ",\"collective\":\"", name_of(record.collective), "\",\"dtype\":\"",
                    typed ? name_of(record.dtype) : "bytes", "\",\"bytes\":", record.bytes,
                    ",\"state\":\"", name_of(record.state),
                    "\",\"queued_ns\":", record.queued.time_since_epoch().count(),
                    ",\"started_ns\":", record.started.time_since_epoch().count(),
                    ",\"ended_ns\":", record.ended.time_since_epoch().count(), "}");
  }
  return out + "\n]\n";
}

}  // namespace spillway::comm
