// SPDX-License-Identifier: Apache-2.0
#include "spillway/train/samples.h"

namespace spillway {

void Samples::fill(const engine::DataPlan& data, StepId of_step,
                   const std::vector<engine::PositionRange>& of_ranges, bool with_seeds)
{
  step = of_step.value();
  ranges = of_ranges;
  indices.clear();
  seeds.clear();
  for (const engine::PositionRange& range : of_ranges)
  {
    std::uint64_t first_of_part = 0;
    for (std::uint32_t part = 0; part < range.part; ++part)
      first_of_part += data.options().parts[part].size;
    for (std::uint64_t position = range.begin; position < range.end; ++position)
    {
      indices.push_back(
          static_cast<std::int64_t>(first_of_part + data.index_at(range.part, position)));
      if (with_seeds) seeds.push_back(data.sample_seed(range.part, position));
    }
  }
}

}  // namespace spillway
