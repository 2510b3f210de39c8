// SPDX-License-Identifier: Apache-2.0
// The adapter over the real engine: workers as threads of one job, with deaths, leaves and joins.
#include <atomic>
#include <deque>
#include <optional>
#include <thread>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "in_process_job.h"
#include "toy_model.h"

namespace spillway::testing {
namespace {

using torch::optim::AdamW;
using torch::optim::AdamWOptions;

constexpr std::uint64_t kSteps = 40;

// Has batch norm (buffers), a frozen layer, and a parameter that only some steps use.
struct JobNet : torch::nn::Module
{
  JobNet()
      : frozen(register_module("frozen", torch::nn::Linear(8, 8))),
        first(register_module("first", torch::nn::Linear(8, 16))),
        norm(register_module("norm", torch::nn::BatchNorm1d(16))),
        second(register_module("second", torch::nn::Linear(16, 4))),
        spare(register_parameter("spare", torch::zeros({4})))
  {
    frozen->weight.set_requires_grad(false);
  }
  at::Tensor forward(const at::Tensor& x, bool with_spare)
  {
    at::Tensor y = second->forward(torch::tanh(norm->forward(first->forward(frozen->forward(x)))));
    return with_spare ? y + spare : y;
  }
  torch::nn::Linear frozen, first;
  torch::nn::BatchNorm1d norm;
  torch::nn::Linear second;
  at::Tensor spare;
};

struct Worker
{
  explicit Worker(std::int64_t number) : number(number) {}
  const std::int64_t number;
  std::int64_t seen = 0;
  std::vector<std::string> gathered;  // after the last step
  std::vector<at::Tensor> final_state;
  engine::EngineStats stats;
  bool left = false;
  bool died = false;
  std::string error;
  std::thread thread;
};

class TrainJob : public ::testing::Test
{
 protected:
  // `disturb` runs within each step: true ends this worker as a kill would.
  using Disturb = std::function<bool(spillway::Run&, Step&)>;

  Worker& start(InProcessJob& job, Disturb disturb = {})
  {
    Worker& worker = workers.emplace_back(static_cast<std::int64_t>(workers.size() + 1));
    worker.thread = job.start(
        worker.number, worker.error,
        [this, &job, &worker, disturb = std::move(disturb)] { work(job, worker, disturb); });
    return worker;
  }

  void join()
  {
    for (Worker& worker : workers) worker.thread.join();
    for (Worker& worker : workers) EXPECT_EQ(worker.error, "") << worker.number;
  }

  void work(InProcessJob& job, Worker& worker, const Disturb& disturb)
  {
    std::shared_ptr<JobNet> net;
    {
      // Different from worker to worker: the base is one worker's.
      const std::lock_guard lock(generator);
      torch::manual_seed(static_cast<std::uint64_t>(worker.number));
      net = std::make_shared<JobNet>();
    }
    AdamW optimizer(net->parameters(), AdamWOptions(0.01));
    TrainState state(net, optimizer);
    state.add_scalar("seen", worker.seen);
    state.on_applied([&worker](const AppliedStep& step) {
      worker.seen += static_cast<std::int64_t>(step.samples);
    });
    state.schedule(LrSchedule::cosine(0.02, kSteps));
    RunOptions options = toy_options(kSteps);
    options.clip_norm = 1.0;
    options.event_log_directory = job.event_log_directory();
    options.first_bucket_bytes = 64;
    options.bucket_bytes = 512;
    TrainData data(97, 24);
    data.max_micro_batch = 5;
    auto run = job.runtime(worker.number).start(state, data, options);
    for (auto& step : run.steps())
    {
      for (auto& micro : step)
        micro.backward(
            loss_sum(net->forward(inputs(micro.indices()), (step.number() + run.rank()) % 2 == 0)),
            micro.size());
      if (disturb && disturb(run, step))
      {
        worker.died = true;
        return;
      }
      if (step.finish() != StepResult::kAborted && step.is_last())
        worker.gathered = run.gather_shares([&](auto, auto) { return std::to_string(worker.seen); })
                              .value_or(std::vector<std::string>());
    }
    for (const auto& parameter : net->parameters())
      worker.final_state.push_back(parameter.detach().clone());
    for (const auto& buffer : net->buffers()) worker.final_state.push_back(buffer.detach().clone());
    worker.stats = run.stats();
    worker.left = run.left();
  }

  std::mutex generator;
  std::deque<Worker> workers;
};

TEST_F(TrainJob, EndsEqualEverywhere)
{
  InProcessJob job(3);
  for (int i = 0; i < 3; ++i) start(job);
  join();
  for (Worker& worker : workers)
  {
    expect_equal(worker.final_state, workers[0].final_state);
    EXPECT_EQ(worker.stats.steps_applied, kSteps);
    EXPECT_EQ(worker.stats.steps_aborted, 0u);
    EXPECT_EQ(worker.seen, 960);
    EXPECT_THAT(worker.gathered, ::testing::ElementsAre("960", "960", "960"));
  }
  EXPECT_EQ(job.check_log().steps_applied, kSteps);
}

TEST_F(TrainJob, TrainsAlone)
{
  InProcessJob job(1);
  start(job);
  join();
  EXPECT_EQ(workers[0].stats.steps_applied, kSteps);
  EXPECT_EQ(job.check_log().steps_applied, kSteps);
}

TEST_F(TrainJob, SurvivesADeathWithinAStep)
{
  InProcessJob job(2);
  start(job);
  start(job);
  start(job, [](spillway::Run&, Step& step) { return step.number() == 10; });
  join();
  EXPECT_TRUE(workers[2].died);
  expect_equal(workers[0].final_state, workers[1].final_state);
  EXPECT_EQ(workers[0].seen, 960);
  EXPECT_EQ(workers[1].seen, 960);
  EXPECT_EQ(job.check_log().steps_applied, kSteps);
}

TEST_F(TrainJob, LetsAWorkerLeaveAndAnotherJoin)
{
  InProcessJob job(2);
  std::atomic<bool> asked{false};
  start(job);
  start(job, [&asked](spillway::Run& run, Step& step) {
    if (step.number() >= 5 && !asked.exchange(true)) run.request_leave();
    return false;
  });
  start(job);
  join();
  EXPECT_TRUE(workers[1].left);
  EXPECT_FALSE(workers[0].left);
  expect_equal(workers[0].final_state, workers[2].final_state);
  EXPECT_EQ(workers[0].stats.steps_aborted, 0u);
  EXPECT_EQ(workers[2].seen, 960);
  EXPECT_EQ(job.check_log().steps_applied, kSteps);
}

}  // namespace
}  // namespace spillway::testing
