// SPDX-License-Identifier: Apache-2.0
#include "spillway/train/loader.h"

#include <algorithm>
#include <condition_variable>
#include <deque>
#include <exception>
#include <mutex>
#include <thread>
#include <vector>

#include "run_state.h"

namespace spillway {
namespace {

using engine::PositionRange;

// A micro-batch that may come.
struct Item
{
  Samples samples;
  enum class State
  {
    kWaiting,
    kLoading,
    kLoaded
  } state = State::kWaiting;
  std::shared_ptr<void> batch;
  std::exception_ptr failure;
};

// Where a slice lies within its step's global batch, in samples.
struct Share
{
  std::uint64_t begin = 0;
  std::uint64_t end = 0;
};

Share share_of(const engine::DataPlan& data, const engine::StepPlan& plan)
{
  Share share;
  const PositionRange& first = plan.slice.front();
  for (const PositionRange& range : data.step_positions(plan.name.step))
  {
    if (range.part == first.part)
    {
      share.begin += first.begin - range.begin;
      break;
    }
    share.begin += range.size();
  }
  share.end = share.begin;
  for (const PositionRange& range : plan.slice) share.end += range.size();
  return share;
}

}  // namespace

class LoaderCore::Impl
{
 public:
  Impl(internal::RunState& run, Load load, LoaderOptions options)
      : run_(run), load_(std::move(load)), options_(options)
  {
    for (std::size_t t = 0; t < options_.threads; ++t) threads_.emplace_back([this] { work(); });
  }

  ~Impl()
  {
    {
      std::lock_guard lock(mutex_);
      stop_ = true;
    }
    changed_.notify_all();
    for (std::thread& thread : threads_) thread.join();
  }

  std::shared_ptr<void> get();

 private:
  void work();
  void run_load(Item& item, std::unique_lock<std::mutex>& lock);
  std::shared_ptr<Item> take(const std::vector<PositionRange>& ranges);
  void guess_on();

  internal::RunState& run_;
  Load load_;
  LoaderOptions options_;
  std::mutex mutex_;
  std::condition_variable changed_;
  bool stop_ = false;
  std::deque<std::shared_ptr<Item>> ahead_;  // in the order in which they should be asked for
  // The step that the next guess belongs to, its micro-batches, and which of them is next.
  StepId guess_step_;
  Share guess_share_;
  std::vector<std::vector<PositionRange>> guess_batches_;
  std::size_t guess_index_ = 0;
  std::vector<std::thread> threads_;
};

void LoaderCore::Impl::run_load(Item& item, std::unique_lock<std::mutex>& lock)
{
  item.state = Item::State::kLoading;
  lock.unlock();
  try
  {
    item.batch = load_(item.samples);
  }
  catch (...)
  {
    item.failure = std::current_exception();
  }
  lock.lock();
  item.state = Item::State::kLoaded;
  changed_.notify_all();
}

void LoaderCore::Impl::work()
{
  std::unique_lock lock(mutex_);
  while (!stop_)
  {
    const auto found = std::find_if(ahead_.begin(), ahead_.end(), [](const auto& item) {
      return item->state == Item::State::kWaiting;
    });
    if (found == ahead_.end())
    {
      changed_.wait(lock);
      continue;
    }
    const std::shared_ptr<Item> item = *found;  // stays alive if it is dropped meanwhile
    run_load(*item, lock);
  }
}

// The item of the micro-batch that is asked for. All that was guessed before it is passed by; if it
// was not guessed, the slices have changed, and so have all guesses.
std::shared_ptr<Item> LoaderCore::Impl::take(const std::vector<PositionRange>& ranges)
{
  const std::uint64_t step = run_.plan->name.step.value();
  while (!ahead_.empty())
  {
    const std::shared_ptr<Item> item = ahead_.front();
    ahead_.pop_front();
    if (item->samples.step == step && item->samples.ranges == ranges) return item;
  }
  guess_step_ = run_.plan->name.step;
  guess_share_ = share_of(run_.engine->data(), *run_.plan);
  guess_batches_ = run_.plan->micro_batches;
  guess_index_ = run_.micro_index + 1;
  auto item = std::make_shared<Item>();
  item->samples.fill(run_.engine->data(), run_.plan->name.step, ranges, true);
  return item;
}

void LoaderCore::Impl::guess_on()
{
  const engine::DataPlan& data = run_.engine->data();
  while (ahead_.size() < options_.depth)
  {
    if (guess_index_ >= guess_batches_.size())
    {
      if (run_.options.steps && guess_step_.value() >= *run_.options.steps) return;
      guess_step_ = guess_step_.next();
      guess_batches_ =
          data.micro_batches(data.slice(guess_step_, guess_share_.begin, guess_share_.end));
      guess_index_ = 0;
    }
    auto item = std::make_shared<Item>();
    item->samples.fill(data, guess_step_, guess_batches_[guess_index_++], true);
    ahead_.push_back(std::move(item));
  }
}

std::shared_ptr<void> LoaderCore::Impl::get()
{
  std::unique_lock lock(mutex_);
  const std::shared_ptr<Item> item = take(run_.plan->micro_batches[run_.micro_index]);
  if (options_.threads > 0) guess_on();
  changed_.notify_all();
  if (item->state == Item::State::kWaiting) run_load(*item, lock);
  // Ends with the load that runs on one of our threads, as it would if it ran here.
  changed_.wait(lock, [&item] { return item->state == Item::State::kLoaded; });
  if (item->failure) std::rethrow_exception(item->failure);
  run_.hand_out(item->samples);
  return std::move(item->batch);
}

LoaderCore::LoaderCore(Run& run, Load load, LoaderOptions options)
    : impl_(std::make_unique<Impl>(*run.state_, std::move(load), options))
{
}

LoaderCore::~LoaderCore() = default;

std::shared_ptr<void> LoaderCore::get(const MicroBatch&)
{
  return impl_->get();
}

}  // namespace spillway
