// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <atomic>

#include "spillway/base/clock.h"

namespace spillway::coordinator {

// Stands still until a test moves it. Safe from any thread.
class ManualClock final : public Clock
{
 public:
  MonotonicTime now() const override { return MonotonicTime(Duration(nanoseconds_.load())); }
  void advance(Duration span) { nanoseconds_ += span.count(); }

 private:
  std::atomic<std::int64_t> nanoseconds_{1'000'000'000'000};
};

}  // namespace spillway::coordinator
