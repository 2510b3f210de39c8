// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "spillway/engine/data.h"

namespace spillway {

// What is trained on: how many samples there are, and how many make a step. The program maps an
// index to a sample; the runtime decides which indices are whose.
struct TrainData
{
  TrainData(std::uint64_t samples, std::uint64_t global_batch)
      : parts({{"all", samples}}), global_batch(global_batch)
  {
  }
  TrainData(std::vector<engine::DataPart> parts, std::uint64_t global_batch)
      : parts(std::move(parts)), global_batch(global_batch)
  {
  }

  std::vector<engine::DataPart> parts;
  std::uint64_t global_batch;         // samples of a step over all workers; stays, whoever comes
  std::uint64_t max_micro_batch = 0;  // samples that the loop computes at once; 0: no limit
  std::uint64_t seed = 0;             // of the permutations and of all generators
};

// For fp16: losses are multiplied by a scale that falls when a reduced gradient is not finite (the
// step is then skipped) and rises after a run of good steps. Decided from reduced values only, so
// all replicas decide alike. Part of the registered state.
struct LossScaling
{
  double initial = 65536;
  double growth = 2;
  double backoff = 0.5;
  std::int64_t growth_interval = 2000;
};

// A mean loss that is not a number.
enum class OnNan
{
  kWarn,  // say so and go on
  kStop,  // do not apply the step, end the job in agreement, and throw Error at its end
};

struct RunOptions
{
  std::optional<std::uint64_t> steps;  // the job ends after this step; none: by request_stop()
  double clip_norm = 0;                // largest global norm of the mean gradient; 0: no clipping
  std::optional<LossScaling> loss_scaling;
  OnNan on_nan = OnNan::kWarn;

  // Optimizers run through libtorch's fused kernels: one pass over the state, the same formulas,
  // not the same last bits as Optimizer::step(). false: Optimizer::step() itself.
  bool fused_update = true;
  // Gradients are reduced in buckets, filled in the order in which backward produces them. A small
  // first one starts the reduction early.
  std::uint64_t first_bucket_bytes = 64 * 1024;
  std::uint64_t bucket_bytes = 4 * 1024 * 1024;

  bool leave_on_sigterm = true;  // SIGTERM to this process is a planned leave, not a death
  bool replica_check = true;     // each step compares a piece of the state with the others'
  std::chrono::milliseconds busy_limit = std::chrono::minutes(30);
  std::string event_log_directory;  // empty: $SPILLWAY_EVENT_LOG_DIR, or nowhere
  // Registered memory is always a copy in host memory, as for tensors on another device.
  bool stage_through_host = false;
};

}  // namespace spillway
