// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <condition_variable>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>

#include "spillway/coordinator/in_process_link.h"

namespace spillway::coordinator {

NodeHello node_hello(std::uint32_t workers, std::uint32_t nodes = 1);
WorkerHello worker_hello(std::int64_t pid);

// How long a test waits for what must come; a machine under sanitizers is slow.
inline constexpr Duration kSoon = std::chrono::seconds(30);

// A worker without training: says what a test makes it say and remembers what it is told.
class RecordingWorker
{
 public:
  RecordingWorker(InProcessNode& node, const Clock& clock, std::int64_t pid);
  ~RecordingWorker();

  WorkerHello hello;
  MemberStatus status;

  // Registers and sends the first status.
  absl::Status enter();
  WorkerId id() const { return id_; }
  void install(const EpochAnnouncement& epoch);
  void promise(Number number);
  // Goes on in this planned number, from the state after `step` of the number it is in.
  void switch_to(Number number, StepId step, MemberListPtr members);
  void say() { link_->send(status, members_); }
  // What is done with each message on the link's thread, before it can be waited for.
  void obey(std::function<void(const ControlMessage&)> react)
  {
    const std::lock_guard lock(mutex_);
    react_ = std::move(react);
  }
  Number epoch() const
  {
    const std::lock_guard lock(mutex_);
    return status.installed;
  }
  std::size_t epoch_size() const
  {
    const std::lock_guard lock(mutex_);
    return members_ ? members_->size() : 0;
  }
  // The link is closed, as when the process dies.
  void hang_up() { link_.reset(); }
  ControlLink& link() { return *link_; }

  // The next message of this kind; others before it are dropped.
  template <typename Message>
  std::optional<Message> wait_for()
  {
    std::optional<Message> found;
    wait_until([&] {
      while (!found && !inbox_.empty())
      {
        if (const auto* message = std::get_if<Message>(&inbox_.front())) found = *message;
        inbox_.pop_front();
      }
      return found.has_value();
    });
    return found;
  }
  bool wait_until(const std::function<bool()>& condition);
  int ups() const { return locked(ups_); }
  int downs() const { return locked(downs_); }
  std::size_t messages() const { return locked(messages_); }
  MonotonicTime acknowledged() const { return locked(acknowledged_); }
  int leave_requests() const { return locked(leave_requests_); }
  absl::Status why() const { return locked(why_); }

 private:
  template <typename T>
  T locked(const T& value) const
  {
    const std::lock_guard lock(mutex_);
    return value;
  }
  const Clock& clock_;
  WorkerId id_;
  MemberListPtr members_;
  mutable std::recursive_mutex mutex_;
  std::condition_variable_any changed_;
  std::deque<ControlMessage> inbox_;
  std::function<void(const ControlMessage&)> react_;
  std::size_t messages_ = 0;
  int ups_ = 0;
  int downs_ = 0;
  int leave_requests_ = 0;
  absl::Status why_;
  MonotonicTime acknowledged_;
  std::unique_ptr<ControlLink> link_;
};

}  // namespace spillway::coordinator
