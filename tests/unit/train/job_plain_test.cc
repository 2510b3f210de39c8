// SPDX-License-Identifier: Apache-2.0
// A job over the real engine, through a death, a leave and a join, ends where a plain loop on the
// same global batches ends.
#include <atomic>
#include <deque>
#include <latch>
#include <map>
#include <optional>
#include <thread>
#include <utility>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "in_process_job.h"
#include "toy_model.h"

namespace spillway::testing {
namespace {

using torch::optim::AdamW;
using torch::optim::AdamWOptions;
using torch::optim::SGD;
using torch::optim::SGDOptions;

constexpr std::uint64_t kMostSteps = 5000;
constexpr double kClip = 0.5;
const LrSchedule kFirstRate = LrSchedule::step_decay(0.02, 20, 0.5);
const LrSchedule kSecondRate = LrSchedule::constant(0.02).warmed_up(10);

// A model with two optimizers, of two types, one layer frozen, and buffers of every kind.
struct Trainee
{
  explicit Trainee(std::uint64_t seed)
      : net(make_net(seed)),
        adam(net->first->parameters(), AdamWOptions(0.02).eps(1e-3)),
        sgd({net->second->weight, net->second->bias}, SGDOptions(0.02).momentum(0.9).nesterov(true))
  {
    net->spare->weight.set_requires_grad(false);
    table = net->register_buffer("table", torch::randn({100}));
    ticks = net->register_buffer("ticks", torch::zeros({1}));
    counter = net->register_buffer("counter", torch::zeros({1}, at::kLong));
  }
  at::Tensor loss(const std::vector<std::int64_t>& indices)
  {
    return loss_sum(net->forward(inputs(indices)));
  }
  std::shared_ptr<ToyNet> net;
  AdamW adam;
  SGD sgd;
  at::Tensor table, ticks, counter;
};

engine::DataPlan data_plan()
{
  engine::DataOptions options;
  options.parts = {{"all", 97}};
  options.global_batch = 24;
  return *engine::DataPlan::create(options);
}

std::vector<at::Tensor> train_plainly(Trainee& trainee, std::uint64_t steps)
{
  const engine::DataPlan data = data_plan();
  Samples samples;
  for (std::uint64_t step = 1; step <= steps; ++step)
  {
    samples.fill(data, StepId(step), data.step_positions(StepId(step)), false);
    trainee.adam.zero_grad();
    trainee.sgd.zero_grad();
    (trainee.loss(samples.indices) / 24).backward();
    torch::nn::utils::clip_grad_norm_(trainee.net->parameters(), kClip);
    trainee.adam.param_groups()[0].options().set_lr(kFirstRate.at(step));
    trainee.sgd.param_groups()[0].options().set_lr(kSecondRate.at(step));
    trainee.adam.step();
    trainee.sgd.step();
  }
  return copy_of(trainee.net->parameters());
}

struct Worker
{
  std::int64_t number = 0;
  std::uint64_t steps = 0;
  std::vector<at::Tensor> parameters;
  at::Tensor table, ticks, counter;
  double sum = 0;                           // registered
  at::Tensor mean = torch::zeros({16, 8});  // of the first layer's weights; registered
  std::map<std::uint64_t, double> reduced;
  bool left = false, died = false;
  engine::EngineStats stats;
  std::string error;
  std::thread thread;
};

class PlainJob : public ::testing::Test
{
 protected:
  // Within each step; true ends this worker as a kill would.
  using Disturb = std::function<bool(spillway::Run&, Step&)>;

  Worker& start(Disturb disturb)
  {
    Worker& worker = workers.emplace_back();
    worker.number = static_cast<std::int64_t>(workers.size());
    worker.thread =
        job.start(worker.number, worker.error,
                  [this, &worker, disturb = std::move(disturb)] { work(worker, disturb); });
    return worker;
  }

  void work(Worker& worker, const Disturb& disturb)
  {
    std::optional<Trainee> trainee;
    {
      // All begin alike, since any of them may give the base.
      const std::lock_guard lock(generator);
      trainee.emplace(3);
    }
    TrainState state(trainee->net, trainee->adam);
    state.add_optimizer(trainee->sgd).schedule(kFirstRate, 0).schedule(kSecondRate, 1);
    state.add_scalar("sum", worker.sum).add_tensor("mean", worker.mean);
    state.on_applied([&](const AppliedStep& step) {
      const at::NoGradGuard no_grad;
      worker.sum += step.loss;
      worker.mean.mul_(0.9).add_(trainee->net->first->weight, 0.1);
    });
    RunOptions options = toy_options(kMostSteps);
    options.clip_norm = kClip;
    options.event_log_directory = job.event_log_directory();
    options.first_bucket_bytes = 64;
    options.bucket_bytes = 256;
    TrainData data(97, 24);
    data.max_micro_batch = 5;
    auto run = job.runtime(worker.number).start(state, data, options);
    for (auto& step : run.steps())
    {
      for (auto& micro : step)
      {
        // Once a step, but on each worker and again after an abort.
        if (micro.number() == 0) trainee->ticks.add_(1);
        if (micro.number() == 0) trainee->counter.add_(1);
        micro.backward(trainee->loss(micro.indices()), micro.size());
      }
      if (disturb(run, step))
      {
        worker.died = true;
        return;
      }
      if (step.finish() == StepResult::kAborted) continue;
      worker.steps = step.number();
      double one = 1;
      if (run.all_reduce(one)) worker.reduced[step.number()] = one;
    }
    worker.parameters = copy_of(trainee->net->parameters());
    worker.table = trainee->table;
    worker.ticks = trainee->ticks;
    worker.counter = trainee->counter;
    worker.left = run.left();
    worker.stats = run.stats();
  }

  InProcessJob job{1};
  std::mutex generator;
  std::deque<Worker> workers;
};

TEST_F(PlainJob, EndsAsAPlainLoopAfterADeathALeaveAndAJoin)
{
  std::atomic<bool> died{false}, left{false};
  std::latch alone(1);
  bool called = false;
  std::uint64_t joined_at = 0;
  std::atomic<std::uint64_t> reached{0};  // the first one's step
  start([&](spillway::Run& run, Step& step) {
    reached = step.number();
    reached.notify_all();
    if (left && run.size() == 1 && !called)
    {
      called = true;
      alone.count_down();
    }
    if (called && run.size() == 2 && joined_at == 0) joined_at = step.number();
    if (joined_at > 0 && step.number() == joined_at + 20) run.request_stop();
    return false;
  });
  start([&](spillway::Run& run, Step&) {
    if (died && run.size() == 2 && !left.exchange(true)) run.request_leave();
    return false;
  });
  start([&](spillway::Run& run, Step& step) {
    if (step.number() < 10 || run.size() < 3) return false;
    // In a step that the first one has begun, so that it sees it aborted.
    for (std::uint64_t at = reached; at < step.number(); at = reached) reached.wait(at);
    return !died.exchange(true);
  });
  alone.wait();
  start([](spillway::Run&, Step&) { return false; });
  for (Worker& worker : workers) worker.thread.join();
  for (Worker& worker : workers) EXPECT_EQ(worker.error, "") << worker.number;

  EXPECT_TRUE(workers[2].died);
  EXPECT_TRUE(workers[1].left);
  const Worker& last = workers[3];
  const std::uint64_t steps = workers[0].steps;
  ASSERT_GE(steps, 30u);
  ASSERT_LT(steps, kMostSteps);
  EXPECT_EQ(last.steps, steps);
  EXPECT_GE(workers[0].stats.steps_aborted, 1u);
  EXPECT_EQ(job.check_log().steps_applied, steps);
  expect_equal(last.parameters, workers[0].parameters);
  EXPECT_EQ(last.sum, workers[0].sum);
  EXPECT_TRUE(torch::equal(last.mean, workers[0].mean));
  EXPECT_GT(last.reduced.size(), 0u);
  for (const auto& [step, sum] : last.reduced) EXPECT_EQ(sum, workers[0].reduced[step]) << step;

  Trainee plain(3);
  expect_close(workers[0].parameters, train_plainly(plain, steps), 1e-3);
  EXPECT_TRUE(torch::equal(workers[0].table, plain.table));
  EXPECT_TRUE(torch::equal(last.table, plain.table));
  for (const Worker* worker : {&std::as_const(workers[0]), &last})
  {
    EXPECT_NEAR(worker->ticks.item<float>(), static_cast<double>(steps), 1e-3);
    EXPECT_EQ(worker->counter.item<std::int64_t>(), static_cast<std::int64_t>(steps));
  }
}

}  // namespace
}  // namespace spillway::testing
