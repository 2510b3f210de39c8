// SPDX-License-Identifier: Apache-2.0
#include "spillway/base/clock.h"

#include <time.h>

namespace spillway {
namespace {

class SystemClock final : public Clock
{
 public:
  MonotonicTime now() const override
  {
    timespec ts{};
    clock_gettime(CLOCK_BOOTTIME, &ts);
    return MonotonicTime(std::chrono::seconds(ts.tv_sec) + std::chrono::nanoseconds(ts.tv_nsec));
  }
};

}  // namespace

const Clock& system_clock()
{
  static const SystemClock clock;
  return clock;
}

std::int64_t unix_time_ms()
{
  timespec ts{};
  clock_gettime(CLOCK_REALTIME, &ts);
  return std::int64_t{ts.tv_sec} * 1000 + ts.tv_nsec / 1000000;
}

MonotonicTime deadline_after(MonotonicTime now, Duration span)
{
  return span >= kForever - now ? kForever : now + span;
}

}  // namespace spillway
