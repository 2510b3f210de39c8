// SPDX-License-Identifier: Apache-2.0
#include "spillway/comm/abort_word.h"

#include <utility>

namespace spillway::comm {

void AbortWord::raise(Number number)
{
  std::uint64_t seen = word_.load(std::memory_order_relaxed);
  while (seen < number.value() &&
         !word_.compare_exchange_weak(seen, number.value(), std::memory_order_acq_rel))
  {
  }
  const std::lock_guard lock(mutex_);
  for (const auto& [key, wake] : wakes_) wake();
}

AbortWord::Subscription::Subscription(AbortWord& word, std::function<void()> wake) : word_(word)
{
  const std::lock_guard lock(word_.mutex_);
  key_ = word_.next_key_++;
  word_.wakes_.emplace(key_, std::move(wake));
}

AbortWord::Subscription::~Subscription()
{
  const std::lock_guard lock(word_.mutex_);
  word_.wakes_.erase(key_);
}

}  // namespace spillway::comm
