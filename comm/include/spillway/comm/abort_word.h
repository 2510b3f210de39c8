// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <map>
#include <mutex>

#include "spillway/base/ids.h"

namespace spillway::comm {

// The number up to which everything is over. The control thread raises it; every wait of a group
// whose number is lower or equal ends with kAborted, also one that begins later. So `Abort(n)`,
// which ends all numbers below n, raises n - 1. It never falls. Safe from any thread; outlives
// every group and call that it was given to.
class AbortWord
{
 public:
  AbortWord() = default;
  AbortWord(const AbortWord&) = delete;
  AbortWord& operator=(const AbortWord&) = delete;

  // Wakes all waits. Returns when every listener has run.
  void raise(Number number);
  Number value() const { return Number(word_.load(std::memory_order_acquire)); }
  bool covers(Number number) const
  {
    return word_.load(std::memory_order_acquire) >= number.value();
  }

  // Runs `wake` on the raising thread at each raise, until the subscription ends. `wake` neither
  // blocks nor calls back into the word.
  class Subscription
  {
   public:
    Subscription(AbortWord& word, std::function<void()> wake);
    ~Subscription();
    Subscription(const Subscription&) = delete;
    Subscription& operator=(const Subscription&) = delete;

   private:
    AbortWord& word_;
    std::uint64_t key_;
  };

 private:
  std::atomic<std::uint64_t> word_{0};
  std::mutex mutex_;
  std::uint64_t next_key_ = 0;
  std::map<std::uint64_t, std::function<void()>> wakes_;
};

}  // namespace spillway::comm
