// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstddef>
#include <mutex>

#include "spillway/base/clock.h"

namespace spillway::engine {

// How long the last steps took, so that deadlines adapt to what was seen. Any thread.
class StepTimes
{
 public:
  void add(Duration step);
  // Zero before the first step.
  Duration p99() const;
  Duration median() const;

 private:
  Duration quantile(double q) const;
  mutable std::mutex mutex_;
  std::array<Duration, 128> ring_{};
  std::size_t count_ = 0;
};

}  // namespace spillway::engine
