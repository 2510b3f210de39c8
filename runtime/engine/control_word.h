// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "absl/types/span.h"
#include "spillway/base/bytes.h"
#include "spillway/base/ids.h"
#include "spillway/engine/engine.h"

namespace spillway::engine {

// The small fixed records that members gather around a step, folded in rank order so that all get
// the same bits. There are two: the *totals* belong to what is reduced, since a member that rolls
// forward from its own buckets needs them without ever having seen the others' votes (P2); the
// *vote* follows when both buckets and totals are complete here.

class TotalsCodec
{
 public:
  explicit TotalsCodec(std::uint64_t parameters) : words_((parameters + 63) / 64) {}

  std::size_t record_bytes() const;
  // A member without a contribution (nullptr) adds nothing.
  void encode(const StepContribution* contribution, MutableByteSpan record) const;
  StepTotals fold(const StepName& name, std::uint32_t members, ByteSpan records) const;

 private:
  struct Head;
  std::uint64_t words_;
};

struct Vote
{
  std::uint64_t prepared = 0;    // newest number prepared; 0: none
  std::uint64_t state_hash = 0;  // of a part of the state that the step starts from (P16)
  std::uint32_t wants_stop = 0;
  std::uint32_t hash_valid = 0;
};
static_assert(sizeof(Vote) == 24);

struct Word
{
  Number min_prepared;
  Number max_prepared;
  bool stop = false;
};
Word fold_votes(absl::Span<const Vote> votes);

// Who has other bytes than the others (P16).
struct ReplicaVerdict
{
  bool agree = true;
  bool majority = false;                // if they do not agree
  std::vector<std::uint32_t> culprits;  // ranks outside the majority, or all if there is none
};
ReplicaVerdict compare_replicas(absl::Span<const Vote> votes);

}  // namespace spillway::engine
