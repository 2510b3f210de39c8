// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>

#include "spillway/base/rng.h"
#include "spillway/coordinator/membership.h"

namespace spillway::sim {

// What a run is like, drawn from its seed before it begins.
struct Setup
{
  enum class Kind
  {
    kQuiet,     // changes without a fault: no step may be aborted
    kRestarts,  // beside them the coordinator restarts and its store fails: no reason for an abort
    kFaults,    // everything
  };
  std::uint64_t seed = 0;
  Kind kind = Kind::kFaults;
  MembershipConfig membership;
  Duration member_lease{};
  Duration heartbeat{};
  int first_processes = 3;
  int most_processes = 6;  // alive at a time
  int most_started = 10;   // in the whole run
  int buckets = 1;
  std::size_t ranges = 2;
  StepId fixed_last_step;  // 0: agreed at the end of the run
  int faults = 0;
  Duration trouble{};            // faults and wishes fall into this span
  bool slow_lanes = true;        // some lanes are much slower than others
  bool reorders = false;         // messages of one link may overtake each other
  bool duplicates = false;       // some messages arrive twice
  bool lasting_pair = false;     // one pair stays unreachable for ever
  bool no_replacements = false;  // too few may be left
  bool scripted = false;         // a script says what happens; nothing is left to chance
  ProtocolRules rules;
};

Setup draw_setup(std::uint64_t seed, const ProtocolRules& rules);
std::string describe(const Setup& setup);

}  // namespace spillway::sim
