// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "host_tensor.h"
#include "spillway/engine/engine.h"
#include "spillway/engine/state.h"

namespace spillway::internal {

// Buffers of the model (batch-norm statistics): each worker's loop changes its own, and after a
// step all have the same again. Floating-point ones change by the mean of the changes over the
// samples of the step, so that what nobody changes keeps its bits; integers become those of one
// worker. They travel in buckets of their own behind the gradients', since
// they are final only when the last micro-batch is.
class Buffers
{
 public:
  absl::Status add(const std::string& name, const at::Tensor& tensor, bool stage);
  absl::Status add_state(engine::StateTable& table) const;
  std::vector<engine::BucketSpec> bucket_specs() const;
  // Says if a buffer is not the registered one any more.
  absl::Status check_unchanged() const;

  // Writes this worker's share into the engine's buckets from `first_bucket` on and hands them in.
  void contribute(engine::Engine& engine, std::size_t first_bucket, double share, bool lead);
  // The sums change the buffers; `correction` makes the shares sum to one.
  void take_reduced(absl::Span<engine::ReducedBucket> buckets, double correction);
  // What the changes of the next step are counted from: the state between two steps.
  void remember();
  void to_host();
  void from_host();

 private:
  struct Item
  {
    std::string name;
    HostTensor memory;
    at::Tensor base;  // of a floating-point one as remembered; 0 where it was not finite
    std::size_t bucket = 0;
    std::uint64_t offset = 0;  // elements
    void remember();
  };
  std::vector<Item> items_;
  std::vector<engine::BucketSpec> buckets_;
};

}  // namespace spillway::internal
