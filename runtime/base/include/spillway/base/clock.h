// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <cstdint>

namespace spillway {

// Time since boot, including time spent suspended (CLOCK_BOOTTIME): a lease must run out on a
// laptop that slept. Never comparable between hosts.
struct MonotonicClock
{
  using duration = std::chrono::nanoseconds;
  using rep = duration::rep;
  using period = duration::period;
  using time_point = std::chrono::time_point<MonotonicClock>;
  static constexpr bool is_steady = true;
};
using MonotonicTime = MonotonicClock::time_point;
using Duration = MonotonicClock::duration;

inline constexpr MonotonicTime kForever = MonotonicTime::max();

// The one source of time. Passed in, so that tests and the simulator decide what time it is.
// Implementations are safe from any thread.
class Clock
{
 public:
  virtual ~Clock() = default;
  virtual MonotonicTime now() const = 0;
};

// The machine's clock. Lives for the whole process.
const Clock& system_clock();

// Milliseconds since 1970, for logs and reports only; never for decisions.
std::int64_t unix_time_ms();

// `now + span`, saturating at kForever.
MonotonicTime deadline_after(MonotonicTime now, Duration span);

}  // namespace spillway
