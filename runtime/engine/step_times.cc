// SPDX-License-Identifier: Apache-2.0
#include "step_times.h"

#include <algorithm>

namespace spillway::engine {

void StepTimes::add(Duration step)
{
  const std::lock_guard lock(mutex_);
  ring_[count_++ % ring_.size()] = step;
}

Duration StepTimes::p99() const
{
  return quantile(0.99);
}

Duration StepTimes::median() const
{
  return quantile(0.5);
}

Duration StepTimes::quantile(double q) const
{
  const std::lock_guard lock(mutex_);
  const std::size_t kept = std::min(count_, ring_.size());
  if (kept == 0) return {};
  std::array<Duration, 128> sorted = ring_;
  const auto rank = static_cast<std::ptrdiff_t>(q * static_cast<double>(kept - 1) + 0.5);
  std::nth_element(sorted.begin(), sorted.begin() + rank,
                   sorted.begin() + static_cast<std::ptrdiff_t>(kept));
  return sorted[static_cast<std::size_t>(rank)];
}

}  // namespace spillway::engine
