// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <functional>
#include <iterator>
#include <memory>
#include <optional>
#include <string>
#include <type_traits>
#include <vector>

#include "spillway/engine/engine.h"
#include "spillway/train/error.h"
#include "spillway/train/options.h"
#include "spillway/train/samples.h"
#include "spillway/train/train_state.h"

namespace spillway {

namespace internal {
struct RunState;
}

// What the loop computes at once. A reference to it is good until the loop asks for the next one.
class MicroBatch
{
 public:
  const std::vector<std::int64_t>& indices() const;
  std::size_t size() const { return indices().size(); }
  const Samples& samples() const;  // with seeds
  std::size_t number() const;      // within this worker's slice, from 0

  // Backward of a loss that is a sum over the micro-batch, not a mean: the runtime divides by the
  // weights of all workers. Exactly once a micro-batch; several losses are added up first. In the
  // last micro-batch gradients are reduced while backward still computes others.
  template <typename Weight>
  requires std::is_arithmetic_v<Weight>
  void backward(const at::Tensor& loss_sum, Weight weight)
  {
    run_backward(loss_sum, static_cast<double>(weight));
  }

 private:
  friend class Step;
  friend struct internal::RunState;
  void run_backward(const at::Tensor& loss_sum, double weight);
  internal::RunState* run_ = nullptr;
};

enum class StepResult
{
  kApplied,
  kSkipped,  // agreed by all: samples consumed, nothing applied (veto, overflow, NaN with kStop)
  kAborted,  // nothing happened: the loop gets the step again
};

// One step: iterate over its micro-batches, then finish().
class Step
{
 public:
  class Iterator
  {
   public:
    using iterator_category = std::input_iterator_tag;
    using value_type = MicroBatch;
    using difference_type = std::ptrdiff_t;
    MicroBatch& operator*() const;
    Iterator& operator++();
    void operator++(int) { ++*this; }
    bool operator==(std::default_sentinel_t) const;

   private:
    friend class Step;
    internal::RunState* run_ = nullptr;
  };
  Iterator begin();
  std::default_sentinel_t end() { return {}; }

  std::uint64_t number() const;   // first = 1
  bool is_last() const;           // the job ends with it, if it is applied or skipped
  bool redo() const;              // begun before, and aborted
  std::uint64_t samples() const;  // of this worker

  // All workers go on without applying this step; its samples are used up.
  void veto();
  // Reduces, votes, applies exactly once. Throws Error if a micro-batch had no backward(); the loop
  // over them may be left by `break` after the last one's.
  StepResult finish();
  // Mean over all workers, after finish(). Not defined for an aborted step.
  double loss() const;
  double learning_rate(std::size_t optimizer = 0) const;

 private:
  friend class Run;
  friend struct internal::RunState;
  internal::RunState* run_ = nullptr;
};

// A worker's training run. One thread uses it; request_stop, request_leave and stats come from any.
// Destroyed before steps() has ended, it is a lost worker to the others.
class Run
{
 public:
  class Steps
  {
   public:
    class Iterator
    {
     public:
      using iterator_category = std::input_iterator_tag;
      using value_type = Step;
      using difference_type = std::ptrdiff_t;
      Step& operator*() const;
      Iterator& operator++();
      void operator++(int) { ++*this; }
      bool operator==(std::default_sentinel_t) const;

     private:
      friend class Steps;
      internal::RunState* run_ = nullptr;
    };
    Iterator begin();
    std::default_sentinel_t end() { return {}; }

   private:
    friend class Run;
    internal::RunState* run_ = nullptr;
  };

  explicit Run(std::unique_ptr<internal::RunState> state);
  Run(Run&&) noexcept;
  Run& operator=(Run&&) noexcept;
  ~Run();

  // Every step of the job from where it stands; waits, joins and holds inside. Ends when the job
  // ends or this worker has left.
  Steps steps();

  // The job ends at a step that all workers agree on.
  void request_stop();
  // This worker leaves without hurting the others; steps() ends once it is released.
  void request_leave();
  bool left() const;  // steps() ended because this worker left

  // Between finish() and the next step, by every worker, in the same order. Sums run in rank order:
  // the same bits for all. false: there is no result here, because the step was aborted or this
  // worker has to copy the state anew; go on with the loop. Who never makes a call that the others
  // wait in is evicted, as with a step.
  [[nodiscard]] bool all_reduce(at::Tensor& values);
  [[nodiscard]] bool all_reduce(double& value);
  // By rank. none: as false above.
  std::optional<std::vector<std::string>> all_gather(const std::string& mine);
  [[nodiscard]] bool barrier();
  // The last call had no result on any worker, since some came or went after rank() and size() were
  // read: they have changed. Compute the share anew and make the call again; or use
  // sum_of_shares().
  bool shares_changed() const;
  // The sum of what every worker computes as share `rank` of `size`, computed again when workers
  // come or go meanwhile: never with a share missing. none: as false above.
  std::optional<double> sum_of_shares(
      const std::function<double(std::uint32_t rank, std::uint32_t size)>& share);
  // Likewise, by rank.
  std::optional<std::vector<std::string>> gather_shares(
      const std::function<std::string(std::uint32_t rank, std::uint32_t size)>& share);
  // While the result lives nobody takes this worker for hung, up to options.busy_limit. For
  // whatever between two steps may let others, or one who joins, wait for 30 s.
  std::unique_ptr<engine::Engine::Busy> busy(std::string label);

  std::uint32_t rank() const;  // of the current or last step, or as a call found since
  std::uint32_t size() const;
  std::uint64_t steps_per_pass() const;
  engine::EngineStats stats() const;
  const engine::DataPlan& data() const;

 private:
  friend class LoaderCore;
  std::unique_ptr<internal::RunState> state_;
};

// Makes the engine under a run. A test or an embedding program brings its own.
using EngineFactory = std::function<absl::StatusOr<std::unique_ptr<engine::Engine>>(
    engine::EngineOptions, engine::StateTable, std::vector<engine::BucketSpec>,
    engine::ReplicaCallbacks&)>;

// The process as a worker of a job.
class Runtime
{
 public:
  // From the environment that `spillway run` gives its workers. Call it before starting threads.
  // Throws Error, which says how to start the program, outside of `spillway run`.
  static Runtime init();
  static Runtime with_engine(std::string job, EngineFactory factory);

  // Throws Error: the state or the options cannot be trained (a reason each), the job refuses this
  // worker, or its agent cannot be reached. `state` is a description and may go away.
  Run start(const TrainState& state, const TrainData& data, const RunOptions& options = {});

  const std::string& job() const { return job_; }
  // How many times this worker's place was filled anew.
  std::uint32_t restart_count() const { return restart_count_; }

 private:
  Runtime() = default;
  std::string job_;
  std::uint32_t restart_count_ = 0;
  std::string event_log_directory_;
  EngineFactory factory_;
};

}  // namespace spillway
