// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <vector>

#include "spillway/engine/data.h"

namespace spillway {

// Which samples one micro-batch has. Plain data.
struct Samples
{
  std::uint64_t step = 0;
  std::vector<engine::PositionRange> ranges;
  // Index into the whole data set: those of a part follow those of the parts before it.
  std::vector<std::int64_t> indices;
  // For the randomness of a sample's augmentation: the same whoever computes it, and when.
  std::vector<std::uint64_t> seeds;

  std::size_t size() const { return indices.size(); }
  // Replaces the contents; the memory is used again.
  void fill(const engine::DataPlan& data, StepId of_step,
            const std::vector<engine::PositionRange>& of_ranges, bool with_seeds);
};

}  // namespace spillway
