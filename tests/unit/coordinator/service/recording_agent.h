// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <condition_variable>
#include <deque>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "recording_worker.h"
#include "spillway/coordinator/job_runner.h"

namespace spillway::coordinator {

// An agent's stream without an agent: says what a test makes it say and remembers what it is told.
class RecordingAgent
{
 public:
  explicit RecordingAgent(JobRunner& runner);

  bool say(NodeMessage message) { return runner_.post(stream_, std::move(message)); }
  // Introduces itself and waits for the answer; node() afterwards.
  bool enter(const NodeHello& hello);
  NodeId node() const { return welcome_.node; }
  const NodeWelcome& welcome() const { return welcome_; }
  void hang_up() { runner_.disconnect(stream_); }
  // From now on nothing more fits.
  void stop_reading();

  // The next order of this kind; others before it are dropped.
  template <typename Order>
  std::optional<Order> wait_for()
  {
    std::unique_lock lock(inbox_->mutex);
    std::optional<Order> found;
    inbox_->changed.wait_for(lock, kSoon, [&] {
      while (!found && !inbox_->orders.empty())
      {
        if (const auto* order = std::get_if<Order>(&inbox_->orders.front())) found = *order;
        inbox_->orders.pop_front();
      }
      return found.has_value();
    });
    return found;
  }
  // The next order to a worker of this kind, likewise.
  template <typename Order>
  std::optional<Order> wait_for_worker(LinkId link)
  {
    while (const auto order = wait_for<ToWorkers>())
      if (const auto* found = std::get_if<Order>(&order->order);
          found != nullptr && order->links == std::vector<LinkId>{link})
        return *found;
    return std::nullopt;
  }
  std::optional<absl::Status> wait_for_close();
  // What has come so far, without waiting.
  template <typename Order>
  std::size_t count() const
  {
    const std::lock_guard lock(inbox_->mutex);
    std::size_t n = 0;
    for (const NodeOrder& order : inbox_->orders)
      n += std::holds_alternative<Order>(order) ? 1U : 0U;
    return n;
  }
  bool closed() const
  {
    const std::lock_guard lock(inbox_->mutex);
    return inbox_->closed.has_value();
  }

 private:
  JobRunner& runner_;
  // Outlives this for as long as the runner may speak.
  struct Inbox
  {
    std::mutex mutex;
    std::condition_variable changed;
    std::deque<NodeOrder> orders;
    std::optional<absl::Status> closed;
    bool reads = true;
  };
  const std::shared_ptr<Inbox> inbox_ = std::make_shared<Inbox>();
  NodeWelcome welcome_;
  StreamId stream_;
};

}  // namespace spillway::coordinator
