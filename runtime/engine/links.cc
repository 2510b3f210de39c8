// SPDX-License-Identifier: Apache-2.0
#include "links.h"

#include <algorithm>

#include "spillway/base/check.h"

namespace spillway::engine {

Links::~Links()
{
  retire_below(Number(~std::uint64_t{0}));
  reap();
}

void Links::set_lineage(Lineage lineage)
{
  const std::lock_guard lock(mutex_);
  lineage_ = lineage;
}

std::shared_ptr<NumberLinks> Links::get(Number number) const
{
  const std::lock_guard lock(mutex_);
  const auto at = numbers_.find(number);
  return at == numbers_.end() ? nullptr : at->second.links;
}

void Links::prepare(Number number, MemberListPtr members, bool listens)
{
  const std::lock_guard lock(mutex_);
  SPILLWAY_CHECK(!numbers_.contains(number), "number ", number.value(), " is prepared twice");
  numbers_[number].links = std::make_shared<NumberLinks>(
      context_, lineage_, number, std::move(members), NumberLinks::Kind::kPlanned, listens);
}

void Links::enter(Number number, MemberListPtr members)
{
  retire_below(number);
  const std::lock_guard lock(mutex_);
  SPILLWAY_CHECK(!numbers_.contains(number), "number ", number.value(), " is entered twice");
  numbers_[number].links = std::make_shared<NumberLinks>(
      context_, lineage_, number, std::move(members), NumberLinks::Kind::kFormed, false);
}

void Links::leave(Number number)
{
  const std::lock_guard lock(mutex_);
  if (const auto at = numbers_.find(number); at != numbers_.end()) at->second.left = true;
}

void Links::stop(Number number)
{
  const std::lock_guard lock(mutex_);
  if (const auto at = numbers_.find(number); at != numbers_.end()) at->second.links->stop();
}

void Links::stop_all()
{
  const std::lock_guard lock(mutex_);
  for (auto& [number, entry] : numbers_) entry.links->stop();
}

void Links::drop(Number number)
{
  const std::lock_guard lock(mutex_);
  if (const auto at = numbers_.find(number); at != numbers_.end()) retire(at);
}

void Links::close(Number number, std::vector<WorkerId> keep)
{
  const std::lock_guard lock(mutex_);
  const auto at = numbers_.find(number);
  if (at == numbers_.end()) return;
  at->second.closing = true;
  at->second.keep.insert(keep.begin(), keep.end());
  retire_if_closed(at);
}

void Links::peer_gone(Number number, WorkerId peer)
{
  const std::lock_guard lock(mutex_);
  const auto at = numbers_.find(number);
  if (at == numbers_.end()) return;
  at->second.gone.insert(peer);
  if (at->second.closing) retire_if_closed(at);
}

void Links::retire_if_closed(std::map<Number, Entry>::iterator at)
{
  const Entry& entry = at->second;
  if (std::includes(entry.gone.begin(), entry.gone.end(), entry.keep.begin(), entry.keep.end()))
    retire(at);
}

void Links::retire_below(Number number)
{
  const std::lock_guard lock(mutex_);
  while (!numbers_.empty() && numbers_.begin()->first < number) retire(numbers_.begin());
}

void Links::retire(std::map<Number, Entry>::iterator at)
{
  at->second.links->stop();
  retired_.push_back(std::move(at->second.links));
  numbers_.erase(at);
}

void Links::listen_to_all()
{
  const std::lock_guard lock(mutex_);
  for (auto& [number, entry] : numbers_)
    if (entry.links->planned() && !entry.left) entry.links->listen();
}

bool Links::progress_left()
{
  std::vector<std::shared_ptr<NumberLinks>> left;
  {
    const std::lock_guard lock(mutex_);
    for (const auto& [number, entry] : numbers_)
      if (entry.left && !entry.links->alone()) left.push_back(entry.links);
  }
  for (const auto& links : left)
  {
    const std::unique_lock calls(links->calls(), std::try_to_lock);
    if (calls.owns_lock() && links->ready()) links->group()->progress();
  }
  return !left.empty();
}

void Links::reap()
{
  std::vector<std::shared_ptr<NumberLinks>> gone;
  {
    const std::lock_guard lock(mutex_);
    gone.swap(retired_);
  }
}

}  // namespace spillway::engine
