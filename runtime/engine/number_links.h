// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <atomic>
#include <condition_variable>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "spillway/base/clock.h"
#include "spillway/comm/transport.h"
#include "spillway/coordinator/member_list.h"
#include "spillway/engine/member.h"

namespace spillway::engine {

// What each member of a planned number says first over its group: who switched tells where from
// and the name of the base; who joins says nothing and listens (P7). Plain bytes.
struct Announcement
{
  std::uint64_t switched_from = 0;  // 0: joins
  std::uint64_t base_number = 0;
  std::uint64_t base_step = 0;
  std::uint64_t last_step = 0;
};

// What the links of numbers report; called from their threads, without locks.
struct LinkEvents
{
  std::function<void(Number)> on_ready;
  std::function<void(Number, std::vector<WorkerId>)> on_unreachable;
  // A formed number cannot be connected: there is nothing to go back to.
  std::function<void(Number, WorkerId, std::string)> on_lost;
  std::function<void(const BaseNamed&)> on_base;
};

struct LinkContext
{
  comm::Transport* transport = nullptr;
  const Clock* clock = nullptr;
  WorkerId self;
  std::vector<std::size_t> bucket_bytes;
  Duration attempt{};  // of connecting, before the unreachable are reported
  LinkEvents events;
};

// One number's group at this member, its memory for contributions and its own abort word. Connects
// in a thread of its own; with one member there is nothing to connect, and no group.
class NumberLinks
{
 public:
  enum class Kind
  {
    kFormed,
    kPlanned,
  };
  NumberLinks(const LinkContext& context, Lineage lineage, Number number, MemberListPtr members,
              Kind kind, bool listens);
  // Blocks for as long as a stopped attempt takes to notice.
  ~NumberLinks();
  NumberLinks(const NumberLinks&) = delete;
  NumberLinks& operator=(const NumberLinks&) = delete;

  Number number() const { return number_; }
  const MemberList& members() const { return *members_; }
  Rank rank() const { return rank_; }
  std::uint32_t size() const { return static_cast<std::uint32_t>(members_->size()); }
  bool alone() const { return members_->size() == 1; }
  bool planned() const { return kind_ == Kind::kPlanned; }

  // Ends every wait and call of this number. Any thread; does not block.
  void stop();
  bool stopped() const { return word_.covers(number_); }

  // Blocks until the group stands: kAborted if the number is stopped, kUnavailable if it cannot be
  // connected.
  absl::Status await_ready();
  bool ready() const;
  // Once ready. nullptr if alone.
  comm::Group* group() { return group_.get(); }
  MutableByteSpan contribution(std::size_t bucket) { return memory_[bucket]; }
  // Held during each call of the group.
  std::mutex& calls() { return calls_; }

  // Calls of the group, one at a time; with one member the result is its own part.
  absl::Status all_gather(StepId step, std::uint32_t index, ByteSpan record,
                          MutableByteSpan records, const comm::CallOptions& options = {});
  absl::Status broadcast(StepId step, std::uint32_t index, Rank root, ByteSpan source,
                         MutableByteSpan result);
  absl::Status sum(StepId step, std::uint32_t index, comm::DType type, ByteSpan contribution,
                   MutableByteSpan result);
  // Memory of the group for a contribution beside the buckets.
  absl::StatusOr<MutableByteSpan> scratch(std::size_t bytes);

  // This worker turned out to be no member of the number before: it listens for the base.
  void listen();
  // What announce() says: that this member switched.
  void set_announcement(const Announcement& mine);
  // The first call over a planned number's group, before all others; once made, does nothing.
  absl::Status announce();
  // Who said that it holds the base; once announced.
  std::vector<WorkerId> holders() const;

 private:
  void run();
  bool connect();
  absl::Status prepare_memory();
  void report_bases();

  const LinkContext& context_;
  const Lineage lineage_;
  const Number number_;
  const MemberListPtr members_;
  const Rank rank_;
  const Kind kind_;
  comm::AbortWord word_;
  std::unique_ptr<comm::Group> group_;
  std::vector<MutableByteSpan> memory_;
  MutableByteSpan scratch_;
  std::mutex calls_;

  enum class State
  {
    kConnecting,
    kReady,
    kFailed,
  };
  enum class Said
  {
    kNothing,
    kUnderWay,
    kDone,
  };
  mutable std::mutex mutex_;
  std::condition_variable changed_;
  State state_ = State::kConnecting;
  absl::Status failure_;
  bool listens_;
  Said said_ = Said::kNothing;
  absl::Status said_status_;
  Announcement mine_;
  std::vector<Announcement> heard_;
  std::thread thread_;
};

}  // namespace spillway::engine
