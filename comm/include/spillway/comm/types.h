// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "spillway/base/clock.h"
#include "spillway/base/ids.h"

namespace spillway::comm {

enum class DType : std::uint8_t
{
  kFp32,
  kFp64,
  kBf16,
  kFp16,
  kInt32,
  kInt64
};
std::size_t size_bytes(DType dtype);
absl::string_view name_of(DType dtype);

enum class ReduceOp : std::uint8_t
{
  kSum,
  kMin,
  kMax
};
absl::string_view name_of(ReduceOp op);

// Names one collective call. All members of a group make the same calls in the same order with the
// same names; a group compares the names and says whose call differs.
struct OpName
{
  Number epoch;
  StepId step;
  std::uint32_t index = 0;  // bucket, control word, user call: the caller's numbering
  friend constexpr auto operator<=>(const OpName&, const OpName&) = default;
};

struct CallOptions
{
  MonotonicTime deadline = kForever;
  // Asked when the deadline has passed, on the calling thread, with the members that have not done
  // their part: a later deadline lets the call go on. Unset, or not later: kDeadlineExceeded.
  std::function<MonotonicTime(const std::vector<WorkerId>& missing)> on_deadline{};
};

// One member as the coordinator lists it. `address` is what its Transport::address() returned.
struct Member
{
  WorkerId worker;
  std::string address;
};

// A group to be built: the same at all members but for `rank`.
struct GroupSpec
{
  Lineage lineage;
  Number number;
  Rank rank;
  std::vector<Member> members;  // in rank order
};

// The elements of `count` that belong to `rank` in a reduce_scatter: [begin, end).
struct ShardRange
{
  std::uint64_t begin = 0;
  std::uint64_t end = 0;
  std::uint64_t count() const { return end - begin; }
};
ShardRange shard_range(std::uint64_t count, std::uint32_t size, Rank rank);

}  // namespace spillway::comm
