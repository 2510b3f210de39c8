// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstring>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "spillway/train/run.h"

namespace spillway::testing {

class FakeEngine;

// A job of one real worker over an engine that only calls back. The test plays the others: it may
// add to what is reduced, choose slices, and abort steps.
struct FakeJob
{
  // What the engine was started with.
  engine::EngineOptions options;
  engine::StateTable table;
  std::vector<engine::BucketSpec> specs;
  engine::ReplicaCallbacks* replica = nullptr;
  FakeEngine* engine = nullptr;

  // What the test decides.
  std::function<void(engine::StepTotals&, std::vector<std::vector<std::byte>>&)> others;
  std::uint64_t first_step = 1;
  std::uint64_t share_begin = 0;
  std::uint64_t share_end = 0;  // of a step's samples; 0: all
  bool lead = true;
  std::uint64_t abort_step = 0;       // aborted once, when the loop
  std::size_t abort_after_ready = 0;  // has handed in this many buckets
  absl::Status collective;
  engine::Sharers sharers{Rank(0), 1};

  // What was seen.
  std::vector<std::string> calls;
  engine::StepContribution contribution;
  std::vector<engine::PositionRange> received;
  std::vector<std::uint64_t> used;

  EngineFactory factory();
  // The registered bytes of an entry.
  MutableByteSpan state(const std::string& name) const;
  template <typename T>
  T* values(const std::string& name) const
  {
    return reinterpret_cast<T*>(state(name).data());
  }
};

class FakeEngine : public engine::Engine
{
 public:
  FakeEngine(FakeJob& job, engine::DataPlan data);
  absl::StatusOr<std::optional<engine::StepPlan>> begin_step() override;
  engine::EndReason end_reason() const override { return end_; }
  bool step_aborted() const override { return aborted_; }
  MutableByteSpan bucket(std::size_t index) override;
  void bucket_ready(std::size_t index) override;
  absl::StatusOr<engine::StepOutcome> finish_step(
      const engine::StepContribution& contribution) override;
  absl::Status all_reduce(comm::DType type, MutableByteSpan values) override;
  absl::StatusOr<std::vector<std::string>> all_gather(ByteSpan mine) override;
  absl::Status barrier() override { return job_.collective; }
  engine::Sharers call_sharers() override { return job_.sharers; }
  void request_stop() override { stop_ = true; }
  void request_leave() override { leave_ = true; }
  std::unique_ptr<Busy> busy(std::string) override { return std::make_unique<Busy>(); }
  engine::EngineStats stats() const override { return {}; }
  const engine::DataPlan& data() const override { return data_; }
  WorkerId worker_id() const override { return WorkerId(1); }
  StateName state_name() const override { return {}; }
  void abort() { aborted_ = true; }

 private:
  FakeJob& job_;
  engine::DataPlan data_;
  std::vector<std::vector<std::byte>> buckets_;
  std::vector<bool> ready_;
  std::uint64_t step_ = 0;
  bool redo_ = false;
  bool open_ = false;
  bool aborted_ = false;
  bool stop_ = false;
  bool leave_ = false;
  engine::EndReason end_ = engine::EndReason::kNotEnded;
};

}  // namespace spillway::testing
