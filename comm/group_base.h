// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <atomic>
#include <mutex>
#include <string>
#include <vector>

#include "backend.h"
#include "spillway/comm/group.h"

namespace spillway::comm {

// What all members must agree on for one call. Plain bytes on the wire.
struct Signature
{
  std::uint64_t call = 0;  // counts the calls of this group from 1
  std::uint64_t epoch = 0;
  std::uint64_t step = 0;
  std::uint64_t bytes = 0;
  std::uint32_t index = 0;
  Collective collective = Collective::kAllReduce;
  DType dtype = DType::kFp32;
  ReduceOp op = ReduceOp::kSum;
  std::uint8_t root = 0;
  friend bool operator==(const Signature&, const Signature&) = default;
};
static_assert(sizeof(Signature) == 40);
std::string describe(const Signature& signature);

// A call that has passed the checks.
struct Call
{
  Signature signature;
  ByteSpan contribution;  // of `signature.bytes`; empty at a broadcast's receivers
  MutableByteSpan result;
  const CallOptions* options = nullptr;
  mutable MonotonicTime deadline = kForever;  // put off by options->on_deadline
};

// The part of a Group that does not depend on the transport: memory, checks of arguments, names of
// calls, the recorder, and that a group that failed once stays failed.
class GroupBase : public Group
{
 public:
  explicit GroupBase(GroupParts parts);
  ~GroupBase() override;

  Number number() const override { return parts_.spec.number; }
  Rank rank() const override { return parts_.spec.rank; }
  std::uint32_t size() const override
  {
    return static_cast<std::uint32_t>(parts_.spec.members.size());
  }
  WorkerId worker(Rank rank) const override { return member(rank.value()).worker; }
  FlightRecorder& recorder() override { return *parts_.recorder; }

  absl::StatusOr<MutableByteSpan> allocate(std::size_t bytes) override;
  absl::Status all_reduce(const OpName& name, DType dtype, ReduceOp op, ByteSpan contribution,
                          MutableByteSpan result, const CallOptions& options) override;
  absl::Status reduce_scatter(const OpName& name, DType dtype, ReduceOp op, ByteSpan contribution,
                              MutableByteSpan result, const CallOptions& options) override;
  absl::Status all_gather(const OpName& name, ByteSpan record, MutableByteSpan results,
                          const CallOptions& options) override;
  absl::Status broadcast(const OpName& name, Rank root, ByteSpan source, MutableByteSpan result,
                         const CallOptions& options) override;

 protected:
  // Runs on the calling thread; every wait in it asks interrupted().
  virtual absl::Status run(const Call& call) = 0;

  const Member& member(std::uint32_t rank) const { return parts_.spec.members[rank]; }
  LinkSet& links() { return *parts_.links; }
  AbortWord& abort_word() { return *parts_.abort; }
  // OK while a call may go on waiting. Puts the deadline off if the caller wants it.
  absl::Status interrupted(const Call& call, const std::vector<std::uint32_t>& missing) const;
  // Cheaper, for loops: whether interrupted() may have something to say before the deadline.
  bool interruption_seen() const
  {
    return parts_.abort->covers(number()) || parts_.links->any_lost();
  }
  bool failed() const { return !failure_.ok(); }
  // For poll: until the deadline, in bounded naps.
  int sleep_ms(MonotonicTime deadline) const
  {
    return poll_timeout_ms(*parts_.clock, deadline, 1000);
  }
  MonotonicTime now() const { return parts_.clock->now(); }
  absl::Status compare(const Call& call, std::uint32_t rank, const Signature& theirs) const;
  // "rank 1 (worker 7 at host:port)"
  std::string who(std::uint32_t rank) const;
  // Whether all of `span` is memory of this group.
  bool owns(ByteSpan span) const;

 private:
  // The part of interrupted() that needs no wait: an abort, a lost peer.
  absl::Status ended_by_news(const Call& call) const;
  // "number 4, rank 0, call 2 all_reduce …"
  std::string what(const Call& call) const;

  struct Region
  {
    std::byte* begin;
    std::size_t bytes;
  };
  absl::Status start(Call call);
  absl::Status check_reduction(DType dtype, ByteSpan contribution, std::uint64_t result_bytes,
                               MutableByteSpan result) const;
  bool touches(ByteSpan span) const;
  Signature sign(const OpName& name, Collective collective) const;

  GroupParts parts_;
  mutable std::mutex memory_mutex_;
  std::vector<Region> regions_;
  std::uint64_t calls_ = 0;
  absl::Status failure_;
  std::atomic<bool> busy_{false};
};

}  // namespace spillway::comm
