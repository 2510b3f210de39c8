// SPDX-License-Identifier: Apache-2.0
#include "schedule.h"

#include <algorithm>

namespace spillway::sim {

void Schedule::at(MonotonicTime when, std::function<void()> what)
{
  items_.push_back({std::max(when, now_), given_++, std::move(what)});
  std::push_heap(items_.begin(), items_.end(), later);
}

bool Schedule::next()
{
  if (items_.empty()) return false;
  std::pop_heap(items_.begin(), items_.end(), later);
  const Item item = std::move(items_.back());
  items_.pop_back();
  now_ = item.when;
  ++done_;
  item.what();
  return true;
}

}  // namespace spillway::sim
