// SPDX-License-Identifier: Apache-2.0
#include "driver.h"

#include <algorithm>

#include "spillway/base/check.h"

namespace spillway::engine {
namespace {

constexpr std::size_t kMostEarly = 1024;

}  // namespace

void Driver::start(const MemberConfig& config, Execute execute)
{
  const std::lock_guard lock(mutex_);
  core_.emplace(config);
  execute_ = std::move(execute);
  for (const MemberEvent& event : std::exchange(early_, {})) step(event);
}

void Driver::feed(const MemberEvent& event)
{
  const std::lock_guard lock(mutex_);
  if (closed_) return;
  if (core_) return step(event);
  SPILLWAY_CHECK(early_.size() < kMostEarly, "too many events before the worker has an id");
  early_.push_back(event);
}

void Driver::feed_if(const std::function<bool()>& still, const MemberEvent& event)
{
  const std::lock_guard lock(mutex_);
  if (!closed_ && core_ && still()) step(event);
}

void Driver::step(const MemberEvent& event)
{
  if (std::holds_alternative<ConnectionUp>(event)) connected_ = true;
  if (std::holds_alternative<ConnectionDown>(event)) connected_ = false;
  for (const MemberAction& action : core_->step(event, clock_.now()))
    if (std::optional<UserItem> item = execute_(action)) queue_.push_back(*std::move(item));
  changed_.notify_all();
}

void Driver::close()
{
  const std::lock_guard lock(mutex_);
  closed_ = true;
  queue_.clear();
}

std::optional<UserItem> Driver::take(const std::function<Decision(const UserItem*)>& decide)
{
  std::unique_lock lock(mutex_);
  while (true)
  {
    const UserItem* front = queue_.empty() ? nullptr : &queue_.front();
    const Decision decision = decide(front);
    if (decision == Decision::kStop) return std::nullopt;
    if (decision == Decision::kTake)
    {
      UserItem item = std::move(queue_.front());
      queue_.pop_front();
      return item;
    }
    changed_.wait_for(lock, std::chrono::seconds(1));
  }
}

void Driver::locked(const std::function<void()>& change)
{
  const std::lock_guard lock(mutex_);
  change();
  changed_.notify_all();
}

void Driver::drop_queued(const std::function<bool(const MemberAction&)>& stale)
{
  std::erase_if(queue_, [&](const UserItem& item) { return stale(item.action); });
}

MemberStatus Driver::status()
{
  const std::lock_guard lock(mutex_);
  return core_ ? core_->status() : MemberStatus{};
}

Number Driver::current()
{
  const std::lock_guard lock(mutex_);
  return core_ ? core_->current() : Number();
}

bool Driver::hears_coordinator()
{
  const std::lock_guard lock(mutex_);
  return connected_ && core_ && !core_->holds_for_lease(clock_.now());
}

}  // namespace spillway::engine
