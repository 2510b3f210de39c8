// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <functional>
#include <vector>

#include "spillway/base/clock.h"

namespace spillway::sim {

// The virtual clock: what is to happen, in the order of its time; equal times in the order given.
class Schedule
{
 public:
  MonotonicTime now() const { return now_; }
  void at(MonotonicTime when, std::function<void()> what);
  void after(Duration delay, std::function<void()> what) { at(now_ + delay, std::move(what)); }
  // Does the next thing; false if nothing is left.
  bool next();
  std::uint64_t done() const { return done_; }

 private:
  struct Item
  {
    MonotonicTime when;
    std::uint64_t order;
    std::function<void()> what;
  };
  static bool later(const Item& a, const Item& b)
  {
    return a.when != b.when ? a.when > b.when : a.order > b.order;
  }
  std::vector<Item> items_;  // a heap
  MonotonicTime now_{};
  std::uint64_t given_ = 0;
  std::uint64_t done_ = 0;
};

}  // namespace spillway::sim
