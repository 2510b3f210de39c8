// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <memory>

#include "spillway/comm/transport.h"

namespace spillway::testing {

// What is wrong with the links of a job. Asked from the workers' threads, several at a time.
struct LinkFaults
{
  // The links of `self` stand but do not move: its record for this call reaches nobody.
  std::function<bool(WorkerId self, const comm::OpName& call)> stalls;
  // No new link comes about between the two, and no probe gets through.
  std::function<bool(WorkerId a, WorkerId b)> cut;
  // Before a range of state is read.
  std::function<void()> reads;
};

// A transport whose links fail as `faults` says, which outlives it; beyond that it is `inner`.
std::unique_ptr<comm::Transport> make_faulty_transport(std::unique_ptr<comm::Transport> inner,
                                                       const LinkFaults& faults);

}  // namespace spillway::testing
