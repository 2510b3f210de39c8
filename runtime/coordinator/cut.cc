// SPDX-License-Identifier: Apache-2.0
#include "spillway/coordinator/cut.h"

#include <algorithm>
#include <numeric>

#include "spillway/base/check.h"
#include "spillway/base/hash.h"

namespace spillway {
namespace {

std::uint64_t total_weight(absl::Span<const CutMember> members)
{
  std::uint64_t total = 0;
  for (const CutMember& member : members)
    if (member.takes_part) total += member.weight;
  return total;
}

}  // namespace

std::vector<Slice> cut(std::uint64_t global_batch, absl::Span<const CutMember> members)
{
  const std::uint64_t total = total_weight(members);
  SPILLWAY_CHECK(total > 0, "no member of ", members.size(), " takes part in the step");
  SPILLWAY_CHECK(global_batch >> 32 == 0, "a batch of ", global_batch, " does not fit the cut");
  std::vector<Slice> slices(members.size());
  // The begins follow from the lengths at the end; until then they hold the remainders, for which a
  // large job would touch fresh memory.
  const auto remainder = [&](std::uint32_t i) -> std::uint64_t& { return slices[i].begin; };
  std::uint64_t given = 0;
  for (std::uint32_t i = 0; i < members.size(); ++i)
  {
    if (!members[i].takes_part) continue;
    const std::uint64_t share = global_batch * members[i].weight;
    slices[i].length = share / total;
    remainder(i) = share % total;
    given += slices[i].length;
  }
  // What rounding down left goes to the largest remainders, the lower rank first. There are fewer
  // left over than members with a remainder above zero, so nobody else ever gets one.
  const auto left = static_cast<std::ptrdiff_t>(global_batch - given);
  std::vector<std::uint32_t> order(members.size());
  std::iota(order.begin(), order.end(), 0U);
  const auto by_remainder = [&](std::uint32_t a, std::uint32_t b) {
    return remainder(a) != remainder(b) ? remainder(a) > remainder(b) : a < b;
  };
  if (left > 0)
    std::nth_element(order.begin(), order.begin() + (left - 1), order.end(), by_remainder);
  for (std::ptrdiff_t i = 0; i < left; ++i) ++slices[order[static_cast<std::size_t>(i)]].length;
  std::uint64_t begin = 0;
  for (Slice& slice : slices)
  {
    slice.begin = begin;
    begin += slice.length;
  }
  return slices;
}

std::uint64_t cut_hash(absl::Span<const Slice> slices)
{
  std::uint64_t hash = slices.size();
  for (const Slice& slice : slices) hash = hash_combine(hash, slice.length);
  return hash;
}

}  // namespace spillway
