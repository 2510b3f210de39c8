// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <vector>

#include "ledger.h"

namespace spillway::invariants {

// What one line of an event log says happened to a worker.
struct LogEvent
{
  enum class Kind
  {
    kEntered,  // `number`, which starts from `state`; `hash` is of its members
    kApplied,  // `state`, whose bits have `hash`
  };
  std::int64_t at_ns = 0;  // of one clock for all files; 0: when the line before it was written
  std::size_t file = 0;
  WorkerId worker;
  Kind kind = Kind::kEntered;
  Number number{};
  StateName state{};
  std::uint64_t hash = 0;
};

// Tells the ledger what happened in the order in which it did. The lines of a file are in order;
// who writes no more counts as dead from its last line on.
void replay(std::vector<LogEvent> events, Ledger& ledger);

}  // namespace spillway::invariants
