// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <condition_variable>
#include <functional>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

#include "number_links.h"
#include "spillway/engine/engine.h"

namespace spillway::engine {

// Reduces the buckets of one step after the other in index order (P10), one call at a time. A
// communication thread starts a bucket as soon as it and all before it are ready, while the loop
// still computes; what is left when the loop has finished is done on the user thread, without
// waking anybody. With one member a contribution is its own result and nothing is ever called.
class BucketPipeline
{
 public:
  struct Step
  {
    StepName name;
    std::shared_ptr<NumberLinks> links;
    bool first_of_number = false;          // announcement and gate run before bucket 0
    bool gated = false;                    // the gate runs before bucket 0
    bool control_only = false;             // nothing is reduced
    bool holds = true;                     // this member has the step's base
    std::vector<MutableByteSpan> results;  // by bucket; the member's own memory
  };
  // Runs before the first bucket of a gated step, on whichever thread gets there.
  using Gate = std::function<absl::Status(const Step& step)>;

  BucketPipeline(std::vector<BucketSpec> buckets, Gate gate);
  ~BucketPipeline();

  // A planned number is entered: its first call is made on the communication thread, at once.
  void open(std::shared_ptr<NumberLinks> links);

  // User thread.
  void begin(Step step);
  // Memory for the contribution of the step begun.
  MutableByteSpan contribution(std::size_t bucket);
  // What was not marked ready counts as zeros.
  void zero_the_rest();
  // Does what is left on the calling thread. After it, and until begin(), the communication thread
  // does nothing with the step.
  absl::Status drain();
  // The step is void: returns when no call of it is under way any more. Its number has been
  // stopped, or has lost a peer.
  void abandon();
  // Everything is ready: does what is left on the communication thread, then calls `then` there.
  void finish_in_background(std::function<void(const absl::Status&)> then);

  // Any thread, between begin() and drain().
  void mark_ready(std::size_t bucket);

 private:
  void run();
  bool may_run() const;
  void run_next(std::unique_lock<std::mutex>& lock);
  absl::Status call(int item);
  void ensure_thread();
  bool complete() const
  {
    return next_ == static_cast<int>(buckets_.size()) || (step_.control_only && next_ >= 0);
  }

  const std::vector<BucketSpec> buckets_;
  const Gate gate_;

  std::mutex mutex_;
  std::condition_variable changed_;
  bool ending_ = false;
  std::shared_ptr<NumberLinks> opening_;
  std::shared_ptr<NumberLinks> announcing_;  // busy with this
  Step step_;
  bool active_ = false;
  bool busy_ = false;      // a call is under way, on either thread
  bool draining_ = false;  // the user thread does the rest
  int next_ = 0;           // -2: announcement, -1: gate, then buckets
  std::vector<char> ready_;
  std::size_t ready_count_ = 0;
  absl::Status status_;
  std::function<void(const absl::Status&)> then_;
  std::thread thread_;
};

}  // namespace spillway::engine
