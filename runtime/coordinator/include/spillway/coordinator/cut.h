// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <vector>

#include "absl/types/span.h"

namespace spillway {

// Slices of a step, as a pure function of batch, weights and holders: coordinator and members
// compute the same integers and compare a hash (P7).

struct CutMember
{
  std::uint32_t weight = 1;
  // False for a copier in its first step: it gets nothing and contributes zeros.
  bool takes_part = true;
};

struct Slice
{
  std::uint64_t begin = 0;
  std::uint64_t length = 0;
  friend bool operator==(const Slice&, const Slice&) = default;
};

// Cuts positions [0, global_batch) among `members` (in rank order) in proportion to weight, by
// largest remainder; among equal remainders the lower rank gets one more. Exact in integers:
// weights and batch up to 2^32 and 2^20 members never overflow. At least one member must take
// part with weight > 0.
std::vector<Slice> cut(std::uint64_t global_batch, absl::Span<const CutMember> members);

// Of the lengths, in rank order.
std::uint64_t cut_hash(absl::Span<const Slice> slices);

// Announcements carry the hash of the cut of this batch, since a coordinator does not know the
// job's own.
inline constexpr std::uint64_t kReferenceBatch = 1'048'573;

}  // namespace spillway
