// SPDX-License-Identifier: Apache-2.0
#include "pulse.h"

#include <algorithm>

#include "spillway/base/log.h"

namespace spillway::engine {
namespace {

constexpr Duration kReportPeriod = std::chrono::seconds(1);
constexpr Duration kTendPeriod = std::chrono::milliseconds(1);
constexpr std::size_t kMostErrands = 64;
// How long a step may wait before what is known about it is written down.
constexpr Duration kLongWait = std::chrono::seconds(10);

}  // namespace

Pulse::Pulse(Config config) : config_(std::move(config))
{
  next_report_ = deadline_after(config_.clock->now(), kReportPeriod);
  thread_ = std::thread([this] { run(); });
}

Pulse::~Pulse()
{
  {
    const std::lock_guard lock(mutex_);
    ending_ = true;
  }
  changed_.notify_all();
  thread_.join();
}

void Pulse::nudge()
{
  const std::lock_guard lock(mutex_);
  nudged_ = true;
  changed_.notify_all();
}

void Pulse::begun(Number number, StepId step)
{
  const std::lock_guard lock(mutex_);
  number_ = number;
  step_ = step;
}

void Pulse::handed_in()
{
  const std::lock_guard lock(mutex_);
  waits_since_ = config_.clock->now();
  told_ = false;
}

void Pulse::done()
{
  const std::lock_guard lock(mutex_);
  waits_since_ = kForever;
}

void Pulse::begin_busy(const std::string& label)
{
  log_debug("busy with ", label);
  const std::lock_guard lock(mutex_);
  if (busy_++ == 0) busy_since_ = config_.clock->now();
  next_report_ = config_.clock->now();  // those who wait must hear of it before they lose patience
  nudged_ = true;
  changed_.notify_all();
}

void Pulse::end_busy()
{
  const std::lock_guard lock(mutex_);
  if (--busy_ == 0) busy_since_ = kForever;
}

void Pulse::errand(std::function<void()> work)
{
  const std::lock_guard lock(mutex_);
  if (errands_.size() >= kMostErrands) return;
  errands_.push_back(std::move(work));
  changed_.notify_all();
}

void Pulse::run()
{
  bool again = false;
  while (true)
  {
    std::function<void()> errand;
    MonotonicTime now{};
    bool due = false;
    {
      std::unique_lock lock(mutex_);
      const auto wanted = [&] { return ending_ || nudged_ || !errands_.empty(); };
      const Duration until_report = next_report_ - config_.clock->now();
      const Duration pause = again ? std::min<Duration>(kTendPeriod, until_report) : until_report;
      if (pause > Duration::zero()) changed_.wait_for(lock, pause, wanted);
      if (ending_) return;
      nudged_ = false;
      now = config_.clock->now();
      due = now >= next_report_;
      if (due) next_report_ = deadline_after(now, kReportPeriod);
      if (!errands_.empty())
      {
        errand = std::move(errands_.front());
        errands_.pop_front();
      }
    }
    again = config_.tend_links();
    if (errand) errand();
    if (due) report(now);
  }
}

void Pulse::report(MonotonicTime now)
{
  using Phase = ProgressReport::Phase;
  std::optional<ProgressReport> words;
  bool long_wait = false;
  const Duration p99 = config_.p99();
  {
    const std::lock_guard lock(mutex_);
    const bool busy = busy_ > 0 && now - busy_since_ < config_.busy_limit;
    const bool waits = waits_since_ != kForever && now - waits_since_ >= kReportPeriod;
    if (busy || waits)
      words = ProgressReport{.number = number_,
                             .step = step_,
                             .phase = waits ? Phase::kHandedIn : Phase::kBusy,
                             .p99_step = p99,
                             .busy_limit = config_.busy_limit};
    long_wait = waits && !told_ && now - waits_since_ >= std::max(kLongWait, 10 * p99);
    told_ = told_ || long_wait;
  }
  if (words) config_.link->send(*words);
  config_.link->send(config_.telemetry());
  if (long_wait) config_.on_long_wait(words->number, words->step);
}

}  // namespace spillway::engine
