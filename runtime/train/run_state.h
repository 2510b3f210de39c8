// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <optional>
#include <string>

#include "replica.h"
#include "signal_watch.h"
#include "spillway/train/run.h"

namespace spillway::internal {

enum class Phase
{
  kBetween,    // steps() has not begun, or has ended
  kComputing,  // a step is yielded
  kFinished,   // and finished, applied or not
};

// Everything of a run. The members are destroyed from the last to the first: the engine goes before
// the replica that it calls and the factory that holds its link.
struct RunState
{
  RunState(std::string job, RunOptions options, EngineFactory factory);

  void next_step();
  void begin_micro_batches();
  void enter_micro_batch();
  void leave_micro_batch();
  bool micro_batches_ended() const;
  std::size_t micro_batches_contributed() const;
  // The samples of the present micro-batch, as the loop gets them.
  const Samples& current_samples(bool with_seeds);
  // A loader gives the loop these, which it has loaded before.
  void hand_out(const Samples& loaded);
  void backward(const at::Tensor& loss_sum, double weight);
  void veto();
  StepResult finish();
  bool collective(const absl::Status& status);
  [[noreturn]] void refuse(const std::string& what) const;
  std::string where() const;
  // Throws what a callback of the engine caught, else what the engine says.
  void check(const absl::Status& status) const;

  std::string job;
  RunOptions options;
  EngineFactory factory;
  std::unique_ptr<Replica> replica;
  std::unique_ptr<engine::Engine> engine;
  std::unique_ptr<SignalWatch> signal_watch;

  Phase phase = Phase::kBetween;
  std::optional<engine::StepPlan> plan;
  Rank rank;
  std::uint32_t members = 0;
  bool shares_changed = false;  // the last collective had no result for that
  Step step;
  MicroBatch micro;
  Samples samples;
  bool samples_filled = false;
  bool iterating = false;
  bool backward_done = false;
  bool backward_failed = false;  // in this step
  std::size_t micro_index = 0;
  engine::StepContribution contribution;
  engine::StepTotals totals;
  std::uint64_t nan_warnings = 0;

 private:
  void warn_of_nan();
  void add_received(const Samples& received);
};

}  // namespace spillway::internal
