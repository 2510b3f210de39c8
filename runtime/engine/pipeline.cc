// SPDX-License-Identifier: Apache-2.0
#include "pipeline.h"

#include <cstring>

#include "spillway/base/check.h"
#include "spillway/base/status.h"

namespace spillway::engine {
namespace {

constexpr int kAnnounce = -2;
constexpr int kGate = -1;

}  // namespace

BucketPipeline::BucketPipeline(std::vector<BucketSpec> buckets, Gate gate)
    : buckets_(std::move(buckets)), gate_(std::move(gate)), ready_(buckets_.size())
{
}

BucketPipeline::~BucketPipeline()
{
  {
    const std::lock_guard lock(mutex_);
    ending_ = true;
    if (step_.links) step_.links->stop();
    if (opening_) opening_->stop();
    if (announcing_) announcing_->stop();
  }
  changed_.notify_all();
  if (thread_.joinable()) thread_.join();
}

void BucketPipeline::ensure_thread()
{
  if (!thread_.joinable()) thread_ = std::thread([this] { run(); });
}

void BucketPipeline::open(std::shared_ptr<NumberLinks> links)
{
  const std::lock_guard lock(mutex_);
  if (!links->alone()) ensure_thread();
  opening_ = std::move(links);
  changed_.notify_all();
}

void BucketPipeline::begin(Step step)
{
  std::unique_lock lock(mutex_);
  // Bounded by the step's call under way, which the stop of its number ends. An announcement may go
  // on while the loop computes: who waits for it must be seen to wait (P13).
  changed_.wait(lock, [&] { return !busy_ || announcing_ || ending_; });
  step_ = std::move(step);
  active_ = true;
  draining_ = false;
  status_ = absl::OkStatus();
  std::fill(ready_.begin(), ready_.end(), char{0});
  ready_count_ = 0;
  next_ = step_.links->alone() ? static_cast<int>(buckets_.size()) : 0;
  if (step_.links->alone()) return;
  ensure_thread();
  if (step_.first_of_number && step_.links->planned())
    next_ = kAnnounce;
  else if (step_.first_of_number || step_.gated)
    next_ = kGate;
  if (next_ < 0) changed_.notify_all();
}

MutableByteSpan BucketPipeline::contribution(std::size_t bucket)
{
  return step_.links->alone() ? step_.results[bucket] : step_.links->contribution(bucket);
}

void BucketPipeline::zero_the_rest()
{
  for (std::size_t i = 0; i < buckets_.size(); ++i)
  {
    {
      const std::lock_guard lock(mutex_);
      if (ready_[i] != 0) continue;
    }
    const MutableByteSpan memory = contribution(i);
    std::memset(memory.data(), 0, memory.size());
    mark_ready(i);
  }
}

void BucketPipeline::mark_ready(std::size_t bucket)
{
  const std::lock_guard lock(mutex_);
  SPILLWAY_CHECK(bucket < buckets_.size(), "bucket ", bucket, " of ", buckets_.size());
  SPILLWAY_CHECK(ready_[bucket] == 0, "bucket ", bucket, " of step ", step_.name.step.value(),
                 " is handed in twice");
  ready_[bucket] = 1;
  ++ready_count_;
  if (step_.links->alone()) return;
  const BucketSpec& spec = buckets_[bucket];
  step_.links->group()->recorder().queued(
      {step_.name.job_epoch, step_.name.step, static_cast<std::uint32_t>(bucket)},
      comm::Collective::kAllReduce, spec.type, spec.count * comm::size_bytes(spec.type));
  // The last one is left to the user thread, which is about to finish the step.
  const bool last = ready_count_ == buckets_.size();
  if (!last && static_cast<int>(bucket) == next_ && !busy_) changed_.notify_all();
}

absl::Status BucketPipeline::drain()
{
  std::unique_lock lock(mutex_);
  draining_ = true;
  changed_.wait(lock, [&] { return !busy_; });
  while (status_.ok() && !complete()) run_next(lock);
  active_ = false;
  return status_;
}

void BucketPipeline::abandon()
{
  std::unique_lock lock(mutex_);
  draining_ = true;
  active_ = false;
  then_ = nullptr;
  changed_.wait(lock, [&] { return !busy_; });
}

void BucketPipeline::finish_in_background(std::function<void(const absl::Status&)> then)
{
  const std::lock_guard lock(mutex_);
  ensure_thread();
  then_ = std::move(then);
  changed_.notify_all();
}

bool BucketPipeline::may_run() const
{
  if (!active_ || busy_ || draining_ || !status_.ok() || complete()) return false;
  return next_ < 0 || ready_[static_cast<std::size_t>(next_)] != 0;
}

void BucketPipeline::run()
{
  std::unique_lock lock(mutex_);
  while (!ending_)
  {
    if (opening_ && !busy_)
    {
      const std::shared_ptr<NumberLinks> links = announcing_ = std::exchange(opening_, nullptr);
      busy_ = true;
      lock.unlock();
      // What goes wrong here fails the number's next call as well, which is looked at.
      links->announce().IgnoreError();
      lock.lock();
      busy_ = false;
      announcing_ = nullptr;
      changed_.notify_all();
    }
    else if (may_run())
    {
      run_next(lock);
    }
    else if (then_ && !busy_ && active_ && (complete() || !status_.ok()))
    {
      const auto then = std::exchange(then_, nullptr);
      const absl::Status status = status_;
      active_ = false;
      busy_ = true;
      lock.unlock();
      then(status);
      lock.lock();
      busy_ = false;
      changed_.notify_all();
    }
    else
    {
      changed_.wait(lock);
    }
  }
}

void BucketPipeline::run_next(std::unique_lock<std::mutex>& lock)
{
  busy_ = true;
  const int item = next_;
  lock.unlock();
  const absl::Status status = call(item);
  lock.lock();
  busy_ = false;
  if (status.ok())
    ++next_;
  else
    status_ = status;
  changed_.notify_all();
}

absl::Status BucketPipeline::call(int item)
{
  // Nothing bounds how long the others compute: whoever hangs is evicted, and the abort ends this.
  NumberLinks& links = *step_.links;
  if (item == kAnnounce) return links.announce();
  if (item == kGate) return gate_(step_);
  const auto index = static_cast<std::size_t>(item);
  const BucketSpec& spec = buckets_[index];
  return links.sum(step_.name.step, static_cast<std::uint32_t>(item), spec.type,
                   links.contribution(index), step_.results[index]);
}

}  // namespace spillway::engine
