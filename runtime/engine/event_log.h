// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <atomic>
#include <cstdint>
#include <mutex>
#include <string>

#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "spillway/base/clock.h"
#include "spillway/base/ids.h"
#include "spillway/coordinator/member_list.h"
#include "spillway/engine/data.h"

namespace spillway::engine {

// What this member really did, one JSON object a line, for the checker of exactly-once. A line is
// one write to the page cache: it survives the death of the process. A disk that is full costs
// lines and an alarm, never a step. Safe from any thread.
class EventLog
{
 public:
  // An empty directory writes nothing.
  EventLog(const std::string& directory, const Clock& clock) : directory_(directory), clock_(clock)
  {
  }
  ~EventLog();
  EventLog(const EventLog&) = delete;
  EventLog& operator=(const EventLog&) = delete;

  bool enabled() const { return !directory_.empty(); }
  // Opens worker-<id>.jsonl and describes the data set. Before all others.
  void open(WorkerId worker, const DataOptions& data);
  void epoch(Number number, StateName base, const MemberList& members);
  // `received`: the positions that the loop got and contributed; logged before the vote.
  void contributed(StateName step, absl::Span<const PositionRange> received);
  void applied(StateName state, std::uint64_t hash);
  void aborted(StateName step);
  // The last collectives of this member, as the recorder of its transport shows them.
  void flight(absl::string_view records_json);
  // Any other fact, for people: `fields` is JSON without braces, e.g. "\"peer\":3".
  void note(absl::string_view event, absl::string_view fields);

 private:
  void write(absl::string_view event, absl::string_view fields);

  const std::string directory_;
  const Clock& clock_;
  std::mutex mutex_;
  int fd_ = -1;
  WorkerId worker_;
  bool complained_ = false;
};

}  // namespace spillway::engine
