// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <utility>
#include <vector>

#include "spillway/base/ids.h"

namespace spillway {

using WorkerPair = std::pair<WorkerId, WorkerId>;  // lower id first

// A smallest set of workers that covers every pair (P14): who is left out so that all others can
// reach each other. Among equally small sets the one that keeps most holders of the base, then
// the one that leaves out the youngest. Never every holder: `holders` counts all candidates that
// hold the base. Exact for up to about twenty pairs' workers, above that by degree.
std::vector<WorkerId> smallest_left_out(const std::vector<WorkerPair>& pairs,
                                        const std::function<bool(WorkerId)>& is_holder,
                                        std::size_t holders);

}  // namespace spillway
