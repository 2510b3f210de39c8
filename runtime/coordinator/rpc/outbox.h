// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <deque>
#include <optional>
#include <utility>

namespace spillway::coordinator {

// What waits to be written to one stream: bounded, in order. A message with a key takes the place
// of a waiting one with the same key, after `merge` has saved what the older one must not lose.
// Guarded by its owner's lock.
template <typename Message>
class Outbox
{
 public:
  using Merge = void (*)(Message& older, Message& newer);
  explicit Outbox(std::size_t messages_max, Merge merge = nullptr)
      : messages_max_(messages_max), merge_(merge)
  {
  }

  // False when it is full.
  bool push(Message message, int key = 0)
  {
    for (Entry& entry : waiting_)
    {
      if (key == 0 || entry.key != key) continue;
      if (merge_ != nullptr) merge_(entry.message, message);
      entry.message = std::move(message);
      return true;
    }
    if (waiting_.size() >= messages_max_) return false;
    waiting_.push_back({key, std::move(message)});
    return true;
  }
  std::optional<Message> pop()
  {
    if (waiting_.empty()) return std::nullopt;
    std::optional<Message> message(std::move(waiting_.front().message));
    waiting_.pop_front();
    return message;
  }
  void clear() { waiting_.clear(); }
  bool empty() const { return waiting_.empty(); }

 private:
  struct Entry
  {
    int key;
    Message message;
  };
  const std::size_t messages_max_;
  const Merge merge_;
  std::deque<Entry> waiting_;
};

}  // namespace spillway::coordinator
