// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <atomic>
#include <condition_variable>
#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "faulty_transport.h"
#include "log_check.h"
#include "spillway/coordinator/in_process_link.h"
#include "spillway/coordinator/job_runner.h"
#include "spillway/engine/engine.h"
#include "toy_replica.h"

namespace spillway::testing {

struct JobSetup
{
  std::uint32_t workers_min = 1;
  std::uint32_t workers_max = 8;
  Duration last_call = std::chrono::milliseconds(1);
  Duration lease = std::chrono::minutes(10);
  std::uint64_t samples = 97;
  std::uint64_t global_batch = 24;
  std::uint64_t max_micro_batch = 5;
  std::size_t ballast = 0;  // floats of state
  StepId last_step{40};
  bool log = true;
  std::uint64_t replica_check_bytes = 256 * 1024;
  Duration progress_floor = std::chrono::seconds(30);
  Duration word_timeout = std::chrono::seconds(10);
  const LinkFaults* links = nullptr;  // outlives the job
};

// A training process as a thread: its own link, engine and replica.
class TestWorker
{
 public:
  // What the loop does beside training. Each runs on the worker's thread.
  struct Hooks
  {
    // Before the contribution is computed; false: the process dies here.
    std::function<bool(engine::Engine&, const engine::StepPlan&)> on_begin;
    // Before finish_step; false: dies here. May change the contribution.
    std::function<bool(engine::Engine&, const engine::StepPlan&, engine::StepContribution&)>
        on_finish;
    std::function<bool(engine::Engine&, const engine::StepPlan&, const engine::StepOutcome&)>
        on_outcome;
  };
  ToyReplica& replica() { return replica_; }
  // Valid when the thread has ended.
  const absl::Status& status() const { return status_; }
  engine::EndReason end() const { return end_; }
  const engine::EngineStats& stats() const { return stats_; }
  bool died() const { return died_; }
  WorkerId id() const { return WorkerId(id_.load()); }
  std::int64_t pid() const { return pid_; }
  const std::vector<engine::StepTotals>& totals() const { return totals_; }

 private:
  friend class TestJob;
  TestWorker(const JobSetup& setup, std::int64_t pid)
      : replica_(setup.samples, setup.ballast), pid_(pid)
  {
  }
  ToyReplica replica_;
  const std::int64_t pid_;
  Hooks hooks_;
  std::unique_ptr<coordinator::ControlLink> link_;
  std::unique_ptr<engine::Engine> engine_;
  std::atomic<std::uint64_t> id_{0};
  std::atomic<std::uint64_t> step_{0};
  absl::Status status_;
  engine::EndReason end_ = engine::EndReason::kNotEnded;
  engine::EngineStats stats_;
  std::vector<engine::StepTotals> totals_;
  bool died_ = false;
  std::thread thread_;
};

// A job in this process: the real coordinator's runner, the real engine over the loopback
// transport, workers as threads. Everything that waits has a deadline.
class TestJob
{
 public:
  explicit TestJob(JobSetup setup);
  ~TestJob();

  TestWorker& start_worker(TestWorker::Hooks hooks = {});
  coordinator::NodeSession& session() { return node_->session(); }
  // The coordinator goes away and comes back from its store.
  void stop_coordinator();
  void start_coordinator();

  void await_registered(TestWorker& worker);
  // Waits until `worker` has applied that step.
  void await_step(TestWorker& worker, StepId step);
  // Waits until it has applied none for a while, and says which was the last.
  StepId await_standstill(TestWorker& worker);
  // Waits for all threads.
  void join();
  engine::Engine& engine(TestWorker& worker) { return *worker.engine_; }

  // Judges the event logs, and that every sample was used as often as `steps` steps use it.
  invariants::LogReport check_log();
  invariants::LogReport read_log();
  void expect_trained(TestWorker& worker, StepId steps);

 private:
  void run(TestWorker& worker);
  absl::Status train(TestWorker& worker);
  absl::StatusOr<std::unique_ptr<comm::Transport>> make_transport(
      comm::TransportOptions options) const;
  void open_runner();

  const JobSetup setup_;
  std::filesystem::path folder_;
  std::unique_ptr<coordinator::Store> store_;
  std::unique_ptr<coordinator::JobRunner> runner_;
  std::unique_ptr<coordinator::InProcessNode> node_;
  std::vector<std::unique_ptr<TestWorker>> workers_;
  std::mutex mutex_;
  std::condition_variable changed_;
};

}  // namespace spillway::testing
