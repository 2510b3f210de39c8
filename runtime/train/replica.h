// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <exception>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "spillway/engine/engine.h"
#include "spillway/train/options.h"
#include "spillway/train/train_state.h"

namespace spillway::internal {

// The model as Run sees it. All that touches libtorch is behind this, in few source files.
// Called on the user thread only.
class Replica : public engine::ReplicaCallbacks
{
 public:
  // kInvalidArgument, kFailedPrecondition: what of the state cannot be trained, and why.
  static absl::StatusOr<std::unique_ptr<Replica>> create(const TrainState& state,
                                                         const RunOptions& options,
                                                         std::uint64_t global_batch);

  // What the engine is told.
  virtual engine::StateTable table() const = 0;
  virtual std::vector<engine::BucketSpec> bucket_specs() const = 0;
  virtual std::uint64_t trained_parameters() const = 0;
  virtual std::string arithmetic_class() const = 0;

  // One step, in this order. abandon() instead of complete() if the step is aborted.
  virtual void begin_step(engine::Engine& engine) = 0;
  virtual void begin_micro_batch(std::uint64_t seed) = 0;
  // The value of the loss. In the last micro-batch buckets become ready while it runs.
  virtual absl::StatusOr<double> backward(const at::Tensor& loss_sum, bool last) = 0;
  // Fills what is missing in the buckets, hands in all, and gives the bitmap of used parameters.
  virtual absl::StatusOr<absl::Span<const std::uint64_t>> complete(std::uint64_t samples,
                                                                   bool lead) = 0;
  virtual void abandon() = 0;

  // Of the newest apply.
  virtual bool update_skipped() const = 0;
  // The first step whose loss was not a number.
  virtual std::optional<StepId> nan_step() const = 0;
  virtual double learning_rate(std::size_t optimizer) const = 0;
  // What the program's code, or libtorch, threw within a callback of the engine, whose frames it
  // must not pass.
  virtual std::exception_ptr failure() const = 0;

  // Sums a user's tensor over the members, in place.
  static absl::Status all_reduce(engine::Engine& engine, at::Tensor& values);
};

}  // namespace spillway::internal
