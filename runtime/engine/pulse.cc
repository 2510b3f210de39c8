// SPDX-License-Identifier: Apache-2.0
#include "pulse.h"

#include <algorithm>

#include "spillway/base/log.h"

namespace spillway::engine {
namespace {

constexpr Duration kReportPeriod = std::chrono::seconds(1);
constexpr Duration kTendPeriod = std::chrono::milliseconds(1);
constexpr std::size_t kMostErrands = 64;
// A step that waits or computes for both of these is worth a word.
constexpr Duration kLongStep = std::chrono::seconds(10);
constexpr int kLongFactor = 10;

bool is_wait(ProgressReport::Phase phase)
{
  return phase == ProgressReport::Phase::kHandedIn ||
         phase == ProgressReport::Phase::kHandedInZeros;
}

}  // namespace

Pulse::Pulse(Config config) : config_(std::move(config))
{
  computes_since_ = config_.clock->now();
  next_report_ = deadline_after(computes_since_, kReportPeriod);
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

void Pulse::begun(const StepName& name)
{
  const std::lock_guard lock(mutex_);
  step_ = name;
  said_waits_ = false;
  computes_since_ = config_.clock->now();
}

void Pulse::handed_in(bool zeros)
{
  const std::lock_guard lock(mutex_);
  zeros_ = zeros;
  waits_since_ = config_.clock->now();
  told_ = false;
}

void Pulse::done()
{
  const std::lock_guard lock(mutex_);
  waits_since_ = kForever;
  computes_since_ = config_.clock->now();
}

void Pulse::begin_call(const StepName& next)
{
  const std::lock_guard lock(mutex_);
  step_ = next;
  waits_since_ = config_.clock->now();
  zeros_ = told_ = false;
}

// The step that it counts as handed in has yet to be computed: said at once.
void Pulse::end_call()
{
  const std::lock_guard lock(mutex_);
  waits_since_ = kForever;
  computes_since_ = config_.clock->now();
  if (!said_waits_) return;
  takes_back_ = true;
  next_report_ = computes_since_;
  nudged_ = true;
  changed_.notify_all();
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
  if (--busy_ > 0) return;
  busy_since_ = kForever;
  computes_since_ = config_.clock->now();
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

// What is worth saying of the loop, if anything is.
std::optional<ProgressReport> Pulse::progress(MonotonicTime now, Duration p99) const
{
  using Phase = ProgressReport::Phase;
  ProgressReport report{.name = {step_.lineage, step_.job_epoch, step_.site_epoch},
                        .step = step_.step,
                        .phase = Phase::kComputing,
                        .p99_step = p99,
                        .lasts = now - computes_since_,
                        .busy_limit = {}};
  if (waits_since_ != kForever)
  {
    report.phase = zeros_ ? Phase::kHandedInZeros : Phase::kHandedIn;
    report.lasts = now - waits_since_;
    if (report.lasts < kReportPeriod) return std::nullopt;
  }
  else if (busy_ > 0)
  {
    report.phase = Phase::kBusy;
    report.lasts = now - busy_since_;
    report.busy_limit = config_.busy_limit - report.lasts;
    if (report.busy_limit <= Duration::zero()) return std::nullopt;
  }
  else if (!takes_back_ && (!step_.step || report.lasts < std::max(kLongStep, kLongFactor * p99)))
    return std::nullopt;
  return report;
}

void Pulse::report(MonotonicTime now)
{
  std::optional<ProgressReport> words;
  bool long_wait = false;
  const Duration p99 = config_.p99();
  {
    const std::lock_guard lock(mutex_);
    words = progress(now, p99);
    takes_back_ = false;
    if (words) said_waits_ = is_wait(words->phase);
    long_wait = words && is_wait(words->phase) && !told_ &&
                words->lasts >= std::max(kLongStep, kLongFactor * p99);
    told_ = told_ || long_wait;
  }
  if (words) config_.link->send(*words);
  config_.link->send(config_.telemetry());
  if (long_wait) config_.on_long_wait(words->name.job_epoch, words->step);
}

}  // namespace spillway::engine
