// SPDX-License-Identifier: Apache-2.0
#include "copier.h"

#include <algorithm>

#include "spillway/base/check.h"
#include "spillway/base/log.h"

namespace spillway::engine {
namespace {

constexpr std::size_t kReaders = 2;
// Ranges in staging memory or on their way; reading waits for installing beyond it.
constexpr std::size_t kOutstanding = 8;
constexpr Duration kPauseAfterFailure = std::chrono::milliseconds(3);
// A donor that gives nothing for so long is asked no more for this range.
constexpr Duration kReadPatience = std::chrono::seconds(10);

}  // namespace

Copier::Copier(Config config) : config_(std::move(config)) {}

Copier::~Copier()
{
  stop();
  {
    const std::lock_guard lock(mutex_);
    ending_ = true;
  }
  changed_.notify_all();
  for (std::thread& thread : threads_) thread.join();
}

void Copier::start(Job job)
{
  stop();
  const std::lock_guard lock(mutex_);
  SPILLWAY_CHECK(!job.donors.empty(), "nobody to copy ", to_string(job.base), " from");
  run_ = std::make_shared<Run>();
  run_->taken.assign(job.have.begin(), job.have.end());
  if (staged_base_ != job.base) drop_staged();
  staged_base_ = job.base;
  again_.clear();
  for (const auto& [range, bytes] : staged_)
  {
    run_->taken[range] = 1;
    again_.push_back(range);
  }
  run_->give_up = deadline_after(config_.clock->now(), config_.timeout);
  run_->job = std::move(job);
  while (threads_.size() < kReaders) threads_.emplace_back([this] { work(); });
  changed_.notify_all();
}

void Copier::stop()
{
  std::shared_ptr<Run> old;
  {
    const std::lock_guard lock(mutex_);
    old = std::move(run_);
    run_ = nullptr;
  }
  changed_.notify_all();
  if (old) old->abort.raise(old->job.number);
}

void Copier::drop_staged()
{
  outstanding_ -= staged_.size();
  staged_.clear();
}

bool Copier::holds(StateName base, std::size_t range)
{
  const std::lock_guard lock(mutex_);
  return run_ && staged_base_ == base && staged_.contains(range);
}

std::vector<std::byte> Copier::take(std::size_t range)
{
  const std::lock_guard lock(mutex_);
  SPILLWAY_CHECK(staged_.contains(range), "range ", range, " is not in staging memory");
  std::vector<std::byte> bytes = std::move(staged_[range]);
  staged_.erase(range);
  return bytes;
}

void Copier::release(std::vector<std::byte> bytes)
{
  const std::lock_guard lock(mutex_);
  --outstanding_;
  if (spare_.size() < kOutstanding) spare_.push_back(std::move(bytes));
  changed_.notify_all();
}

// Waits for a range to read; false at the end.
bool Copier::claim(std::shared_ptr<Run>& run, std::size_t& range, comm::Member& donor)
{
  std::unique_lock lock(mutex_);
  while (!ending_)
  {
    if (run_ && !again_.empty())
    {
      const std::size_t known = again_.back();
      again_.pop_back();
      const StateName base = staged_base_;
      lock.unlock();
      config_.on_arrived(base, known);
      lock.lock();
      continue;
    }
    if (run_ && !run_->failed && outstanding_ < kOutstanding)
    {
      const auto at = std::find(run_->taken.begin(), run_->taken.end(), char{0});
      if (at != run_->taken.end())
      {
        *at = 1;
        ++outstanding_;
        run = run_;
        range = static_cast<std::size_t>(at - run_->taken.begin());
        donor = run_->job.donors[(range + run_->attempts) % run_->job.donors.size()];
        return true;
      }
    }
    changed_.wait(lock);
  }
  return false;
}

absl::Status Copier::read(Run& run, std::size_t range, const comm::Member& donor,
                          std::vector<std::byte>& bytes)
{
  const std::uint64_t offset = range * config_.range_bytes;
  bytes.resize(std::min(config_.range_bytes, config_.state_bytes - offset));
  const MonotonicTime deadline =
      std::min(run.give_up, deadline_after(config_.clock->now(), kReadPatience));
  return config_.transport->read_range({.lineage = run.job.lineage,
                                        .number = run.job.number,
                                        .donor = donor,
                                        .name = run.job.base,
                                        .offset = offset},
                                       {bytes.data(), bytes.size()}, {.deadline = deadline},
                                       run.abort);
}

void Copier::work()
{
  std::shared_ptr<Run> run;
  std::size_t range = 0;
  comm::Member donor;
  while (claim(run, range, donor))
  {
    std::vector<std::byte> bytes;
    {
      const std::lock_guard lock(mutex_);
      if (!spare_.empty())
      {
        bytes = std::move(spare_.back());
        spare_.pop_back();
      }
    }
    const absl::Status status = read(*run, range, donor, bytes);
    std::unique_lock lock(mutex_);
    if (run != run_ || ending_)
    {
      --outstanding_;
      continue;
    }
    if (status.ok())
    {
      bytes_read_.fetch_add(bytes.size(), std::memory_order_relaxed);
      staged_[range] = std::move(bytes);
      const StateName base = run->job.base;
      lock.unlock();
      config_.on_arrived(base, range);
      continue;
    }
    run->taken[range] = 0;
    ++run->attempts;
    --outstanding_;
    if (config_.clock->now() >= run->give_up && !run->failed)
    {
      run->failed = true;
      lock.unlock();
      config_.on_failed(run->job.number, donor.worker, status);
      continue;
    }
    log_debug("a range of the base is asked of another donor: ", status.message());
    changed_.wait_for(lock, kPauseAfterFailure, [&] { return run != run_ || ending_; });
  }
}

}  // namespace spillway::engine
