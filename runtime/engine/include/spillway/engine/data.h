// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "spillway/base/ids.h"

namespace spillway::engine {

// A part of the data set. The engine knows how many samples it has, never what they are.
struct DataPart
{
  std::string name;
  std::uint64_t size = 0;
};

// Half-open range of running positions of one part. A running position counts on over data
// passes: position p of a part of n samples is place p % n of pass p / n.
struct PositionRange
{
  std::uint32_t part = 0;
  std::uint64_t begin = 0;
  std::uint64_t end = 0;
  std::uint64_t size() const { return end - begin; }
  friend bool operator==(const PositionRange&, const PositionRange&) = default;
};

// A seeded bijection of [0, size): a four-round Feistel network over Philox on the next even
// power of two, walked until it falls inside. Nothing is stored; at() is a pure function.
class Permutation
{
 public:
  // size > 0.
  Permutation(std::uint64_t seed, std::uint64_t size);
  std::uint64_t at(std::uint64_t place) const;
  // The place whose value is `value`.
  std::uint64_t place_of(std::uint64_t value) const;

 private:
  std::uint64_t encrypt(std::uint64_t value) const;
  std::uint64_t decrypt(std::uint64_t value) const;
  std::uint64_t seed_;
  std::uint64_t size_;
  unsigned half_bits_;
};

struct DataOptions
{
  std::vector<DataPart> parts;
  std::uint64_t global_batch = 0;     // samples of one step, over all parts and members
  std::uint64_t max_micro_batch = 0;  // samples that the loop computes at once; 0: no limit
  std::uint64_t seed = 0;
};

// Which samples a step uses: a pure function of the step, whatever members did or will do, so
// that every position is used exactly once under any churn. Immutable; any thread.
class DataPlan
{
 public:
  // kInvalidArgument: no parts, an empty part, a batch of 0 or larger than the data set.
  static absl::StatusOr<DataPlan> create(DataOptions options);

  // The positions of step `step` (first step = 1): at most one range a part, ascending part. Parts
  // are drawn from in proportion to their size, by a rule that never takes a sample back; after
  // each whole pass every part has been drawn whole.
  std::vector<PositionRange> step_positions(StepId step) const;

  // The piece of a step's positions from sample `begin` to sample `end` of its global batch,
  // counted over the parts in order.
  std::vector<PositionRange> slice(StepId step, std::uint64_t begin, std::uint64_t end) const;

  // Cuts ranges into micro-batches of at most max_micro_batch samples; each is ranges again.
  std::vector<std::vector<PositionRange>> micro_batches(
      absl::Span<const PositionRange> ranges) const;

  // The sample of a position: an index into its part, by that pass's own permutation.
  std::uint64_t index_at(std::uint32_t part, std::uint64_t position) const;

  // The reverse: where the samples with these indices stand. An index is into the whole data set,
  // in which a part's samples follow those of the parts before it. Each pass has a position for it;
  // of those the one counts that goes on from the sample before, or lies in `expected`, or else is
  // of the pass that `expected` begins in. So a log of what a loop really got can be written in
  // positions, and shows what was left out, used twice or foreign.
  std::vector<PositionRange> positions_of(absl::Span<const std::int64_t> indices,
                                          absl::Span<const PositionRange> expected) const;

  // Seeds that depend on nothing but the job's seed and what is being computed (P9).
  std::uint64_t sample_seed(std::uint32_t part, std::uint64_t position) const;
  std::uint64_t micro_batch_seed(StepId step, const PositionRange& first) const;

  std::uint64_t steps_per_pass() const;  // rounded up
  std::uint64_t samples() const { return samples_; }
  const DataOptions& options() const { return options_; }

 private:
  explicit DataPlan(DataOptions options);
  std::vector<std::uint64_t> drawn_of_pass(std::uint64_t drawn) const;
  std::vector<std::uint64_t> consumed_before(StepId step) const;
  Permutation permutation(std::uint32_t part, std::uint64_t pass) const;
  std::uint64_t position_of(std::uint32_t part, std::uint64_t index, std::uint64_t next,
                            absl::Span<const PositionRange> expected) const;
  DataOptions options_;
  std::uint64_t samples_ = 0;
};

}  // namespace spillway::engine
