// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <condition_variable>
#include <deque>
#include <functional>
#include <mutex>
#include <optional>
#include <string>
#include <thread>

#include "spillway/base/clock.h"
#include "spillway/base/ids.h"
#include "spillway/coordinator/link.h"

namespace spillway::engine {

// The engine's service thread: takes groups apart that nobody needs, moves the transport of numbers
// that were left, says once a second if this member waits, computes long or is busy (P13), tells
// the agent how the loop goes on, and runs errands that may block, such as probes. Any thread may
// call.
class Pulse
{
 public:
  struct Config
  {
    const Clock* clock = nullptr;
    coordinator::ControlLink* link = nullptr;
    Duration busy_limit{};
    // Takes groups apart and moves left ones; whether it has to be done again soon.
    std::function<bool()> tend_links;
    std::function<Duration()> p99;
    std::function<coordinator::Telemetry()> telemetry;
    // A step waits much longer than usual: the time to write down what is known.
    std::function<void(Number, StepId)> on_long_wait;
  };
  explicit Pulse(Config config);
  ~Pulse();

  // There is something to take apart.
  void nudge();
  // A step begins here; this member has handed in its last bucket and waits for the others (with
  // zeros: it joins, its loop waits for nothing); the step has ended.
  void begun(const StepName& name);
  void handed_in(bool zeros = false);
  void done();
  // Between two steps: this member waits for the others in a call before step `next`; it does so no
  // more.
  void begin_call(const StepName& next);
  void end_call();
  void begin_busy(const std::string& label);
  void end_busy();
  // Dropped if too many wait.
  void errand(std::function<void()> work);

 private:
  void run();
  void report(MonotonicTime now);
  std::optional<ProgressReport> progress(MonotonicTime now, Duration p99) const;

  const Config config_;
  std::mutex mutex_;
  std::condition_variable changed_;
  bool ending_ = false;
  bool nudged_ = false;
  StepName step_;                         // begun last
  MonotonicTime computes_since_{};        // it began, or ended, or busy did
  MonotonicTime waits_since_ = kForever;  // handed in
  bool zeros_ = false;                    // that
  bool told_ = false;
  bool said_waits_ = false;  // last, of the step begun
  bool takes_back_ = false;  // said that it waits in a call, which has ended
  int busy_ = 0;
  MonotonicTime busy_since_ = kForever;
  MonotonicTime next_report_{};
  std::deque<std::function<void()>> errands_;
  std::thread thread_;
};

}  // namespace spillway::engine
