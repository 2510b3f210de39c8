// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <condition_variable>
#include <deque>
#include <functional>
#include <mutex>
#include <optional>
#include <vector>

#include "spillway/base/clock.h"
#include "spillway/engine/member.h"

namespace spillway::engine {

// What the user thread has to do next. Ranges bring their bytes along.
struct UserItem
{
  MemberAction action;
  std::vector<std::byte> bytes;
};

// Feeds the pure core from any thread and executes what it decides: at once, under the lock, what
// cannot block (answers, aborts, starting other threads); through a queue what only the user
// thread may do. The lock is held for microseconds, never over a wait, a call of the user's or a
// collective, so that an abort is answered at once whatever the loop does.
class Driver
{
 public:
  // Under the lock, in order. Returns the item for the user thread, if the action is its.
  using Execute = std::function<std::optional<UserItem>(const MemberAction& action)>;

  explicit Driver(const Clock& clock) : clock_(clock) {}

  // Events that came before are fed now.
  void start(const MemberConfig& config, Execute execute);
  void feed(const MemberEvent& event);
  // Only if `still` says so under the lock.
  void feed_if(const std::function<bool()>& still, const MemberEvent& event);
  // Nothing is fed or executed any more.
  void close();

  enum class Decision
  {
    kTake,
    kWait,
    kStop,
  };
  // Waits until `decide` wants the front of the queue (nullptr: empty) or wants no more; it is
  // asked under the lock, again after each event and at least every second.
  std::optional<UserItem> take(const std::function<Decision(const UserItem* front)>& decide);
  // Runs `change` under the lock; take() asks again.
  void locked(const std::function<void()>& change);

  // Under the lock, from inside Execute or `decide` only.
  MemberCore& core() { return *core_; }
  void drop_queued(const std::function<bool(const MemberAction&)>& stale);

  // Copies, for anybody.
  MemberStatus status();
  Number current();
  // The coordinator is there and this member's lease has not run out.
  bool hears_coordinator();

 private:
  void step(const MemberEvent& event);

  const Clock& clock_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::optional<MemberCore> core_;
  Execute execute_;
  bool closed_ = false;
  bool connected_ = false;
  std::vector<MemberEvent> early_;
  std::deque<UserItem> queue_;
};

}  // namespace spillway::engine
