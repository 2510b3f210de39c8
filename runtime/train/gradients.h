// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <torch/types.h>

#include <atomic>
#include <cstdint>
#include <deque>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/types/span.h"
#include "spillway/engine/engine.h"
#include "spillway/train/options.h"

namespace spillway::internal {

// The gradients of the trained parameters, on their way into the engine's buckets and as they come
// out, reduced. A hook on each parameter copies its gradient into its bucket as soon as backward
// has produced it, while the rest is computed, and lets go of it.
class Gradients
{
 public:
  struct Parameter
  {
    std::string name;
    at::Tensor tensor;
  };
  Gradients(std::vector<Parameter> parameters, const RunOptions& options);
  ~Gradients();
  Gradients(const Gradients&) = delete;
  Gradients& operator=(const Gradients&) = delete;

  std::size_t size() const { return slots_.size(); }
  std::size_t bucket_count() const { return buckets_.size(); }
  std::vector<engine::BucketSpec> bucket_specs() const;

  void begin(engine::Engine& engine);
  // What accumulates between two backwards is the runtime's: note_local() after each remembers it,
  // and check_local() before the next says if the program has changed it.
  absl::Status check_local();
  void note_local();
  // Between these two, backward of the last micro-batch: gradients are whole when they arrive.
  void arm() { armed_ = true; }
  absl::Status disarm();
  // Hands in what has not been: zeros for parameters that nobody used here.
  absl::Status complete();
  // Bitmap of the parameters used here; empty: all.
  absl::Span<const std::uint64_t> used();
  void drop();

  // Reduced. Views stay valid as long as the buckets.
  void take_reduced(absl::Span<engine::ReducedBucket> buckets,
                    absl::Span<const std::uint64_t> used);
  double sum_of_squares() const;
  void scale(double factor);
  // Of parameter i; undefined if nobody used it.
  const at::Tensor& reduced(std::size_t i) const { return slots_[i].result; }

 private:
  class Hook;
  struct Slot
  {
    std::string name;
    at::Tensor tensor;
    std::size_t bucket = 0;
    std::uint64_t offset = 0;  // in bytes
    std::uint64_t bytes = 0;
    bool plain = false;    // dense in host memory: a gradient of the same layout is copied as bytes
    bool arrived = false;  // in the bucket, this step
    bool used = false;
    const void* local = nullptr;  // the gradient that has accumulated
    std::int64_t local_version = 0;
    at::Tensor view;  // over the reduced bucket
    std::byte* view_data = nullptr;
    at::Tensor result;
  };
  struct Bucket
  {
    comm::DType type{};
    std::uint64_t count = 0;
    std::vector<std::size_t> slots;
    MutableByteSpan bytes;  // this step's
    std::atomic<std::size_t> missing{0};
    bool handed_in = false;
    MutableByteSpan reduced;
  };

  void lay_out(const RunOptions& options);
  void arrive(std::size_t i);
  void write(Slot& slot, const at::Tensor& gradient);
  void hand_in(std::size_t bucket);

  std::vector<Slot> slots_;     // in the order of registration: the index of the bitmap
  std::deque<Bucket> buckets_;  // atomics do not move
  std::vector<std::uint64_t> bitmap_;
  engine::Engine* engine_ = nullptr;
  bool armed_ = false;
  absl::Status failure_;  // of a hook; read after backward
};

}  // namespace spillway::internal
