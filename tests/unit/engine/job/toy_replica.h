// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <vector>

#include "spillway/engine/engine.h"

namespace spillway::testing {

// A model small enough to know the right answer: every sample adds one to the bin of its index and
// pulls at a weight, so the final state says how often each sample was used. It has state of every
// kind: parameters, optimizer state, a buffer that the loop changes while it computes, and a step
// counter that lives outside of the registered memory until it is exported.
class ToyReplica final : public engine::ReplicaCallbacks
{
 public:
  // `ballast` floats make the state as large as a test wants.
  ToyReplica(std::uint64_t samples, std::size_t ballast);

  engine::StateTable table();
  std::vector<engine::BucketSpec> bucket_specs() const;
  // What one member contributes: the samples of the plan's micro-batches, by their indices. Bucket
  // 2, the buffer, comes from the lead alone. Where the samples that were computed stand: found
  // again from their indices, not taken from the plan.
  std::vector<engine::PositionRange> compute(engine::Engine& engine, const engine::StepPlan& plan);

  absl::Status apply(const engine::StepTotals& totals,
                     absl::Span<engine::ReducedBucket> buckets) override;
  absl::Status export_state() override;
  absl::Status import_state() override;

  // How often each sample was used, over all applied steps.
  const std::vector<std::int64_t>& uses() const { return uses_; }
  const std::vector<float>& weights() const { return weights_; }
  std::int64_t steps() const { return steps_; }
  double average() const { return average_[0]; }
  // Runs inside apply; its status is the apply's.
  std::function<absl::Status(const engine::StepTotals&)> on_apply;
  // Changes the indices of a micro-batch, as a wrong loop would.
  std::function<void(const engine::StepPlan&, std::vector<std::int64_t>&)> on_micro_batch;
  void flip_a_bit() { weights_[weights_.size() / 2] += 1.0F; }

 private:
  std::vector<std::int64_t> uses_;
  std::vector<float> weights_;
  std::vector<float> momentum_;
  std::array<double, 1> average_{};
  std::array<std::int64_t, 1> exported_steps_{};
  std::int64_t steps_ = 0;
};

}  // namespace spillway::testing
