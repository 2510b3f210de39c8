// SPDX-License-Identifier: Apache-2.0
// Several workers with parameters of narrow and mixed types get, bit for bit, what a plain libtorch
// loop gets that sums the same gradients in the same order.
#include <cmath>
#include <deque>
#include <map>
#include <set>
#include <tuple>

#include "gtest/gtest.h"
#include "in_process_job.h"
#include "toy_model.h"

namespace spillway::testing {
namespace {

using torch::optim::AdamW;
using torch::optim::AdamWOptions;
using torch::optim::SGD;
using torch::optim::SGDOptions;

constexpr std::uint64_t kSteps = 24;
constexpr std::uint64_t kBatch = 24;

// Of the three layers.
using Types = std::array<at::ScalarType, 3>;

// Two optimizers; the first one's only group has parameters of two types.
struct Trainee
{
  explicit Trainee(const Types& types)
      : net(make(types)),
        adam(parameters_of({net->first, net->second}),
             AdamWOptions(0.01).betas({0.8, 0.9}).eps(1e-2)),
        sgd(net->third->parameters(), SGDOptions(0.02).momentum(0.9).nesterov(true))
  {
  }
  struct Net : torch::nn::Module
  {
    Net()
        : first(register_module("first", torch::nn::Linear(8, 16))),
          second(register_module("second", torch::nn::Linear(16, 12))),
          third(register_module("third", torch::nn::Linear(12, 4)))
    {
    }
    torch::nn::Linear first, second, third;
  };
  static std::shared_ptr<Net> make(const Types& types)
  {
    torch::manual_seed(3);
    auto net = std::make_shared<Net>();
    net->first->to(types[0]);
    net->second->to(types[1]);
    net->third->to(types[2]);
    return net;
  }
  static std::vector<at::Tensor> parameters_of(std::vector<torch::nn::Linear> layers)
  {
    std::vector<at::Tensor> all;
    for (auto& layer : layers)
      for (const at::Tensor& parameter : layer->parameters()) all.push_back(parameter);
    return all;
  }
  at::Tensor loss(const std::vector<std::int64_t>& indices)
  {
    at::Tensor y = inputs(indices);
    for (torch::nn::Linear layer : {net->first, net->second, net->third})
      y = torch::tanh(layer->forward(y.to(layer->weight.scalar_type())));
    return loss_sum(y);
  }
  std::shared_ptr<Net> net;
  AdamW adam;
  SGD sgd;
};

// The micro-batches of a step, by rank.
using Contributions = std::map<std::uint32_t, std::vector<std::vector<std::int64_t>>>;

// Gradients accumulate over each rank's micro-batches in their own type and are summed in rank
// order in fp32, as DDP's would be, unscaled and clipped by their global norm in one pass.
class PlainLoop
{
 public:
  PlainLoop(const Types& types, const RunOptions& options)
      : trainee(types),
        options_(options),
        scale_(options.loss_scaling ? options.loss_scaling->initial : 1)
  {
  }

  StepResult step(const Contributions& ranks, bool veto)
  {
    const std::vector<at::Tensor> parameters = trainee.net->parameters();
    const std::vector<at::Tensor> sums = gradients(parameters, ranks);
    double squares = 0;
    for (const at::Tensor& sum : sums) squares += sum.to(at::kDouble).square().sum().item<double>();
    const double norm = std::sqrt(squares) / scale_;
    if (veto) return StepResult::kSkipped;
    if (options_.loss_scaling && !std::isfinite(norm))
    {
      scale_ *= options_.loss_scaling->backoff;
      good_steps_ = 0;
      return StepResult::kSkipped;
    }
    double factor = 1 / scale_;
    if (options_.clip_norm > 0 && norm > options_.clip_norm)
    {
      factor *= options_.clip_norm / (norm + 1e-6);
      ++clipped;
    }
    for (std::size_t i = 0; i < parameters.size(); ++i)
      parameters[i].mutable_grad() =
          (sums[i].to(at::kFloat) * factor).to(parameters[i].scalar_type());
    trainee.adam.step();
    trainee.sgd.step();
    if (options_.loss_scaling && ++good_steps_ == options_.loss_scaling->growth_interval)
    {
      scale_ *= options_.loss_scaling->growth;
      good_steps_ = 0;
    }
    return StepResult::kApplied;
  }

  Trainee trainee;
  int clipped = 0;

 private:
  std::vector<at::Tensor> gradients(const std::vector<at::Tensor>& parameters,
                                    const Contributions& ranks)
  {
    std::vector<at::Tensor> sums;
    for (const auto& [rank, micro_batches] : ranks)
    {
      for (const at::Tensor& parameter : parameters) parameter.mutable_grad().reset();
      for (const auto& indices : micro_batches)
        trainee.loss(indices).backward(torch::tensor(static_cast<float>(scale_ / kBatch)));
      for (std::size_t i = 0; i < parameters.size(); ++i)
      {
        const at::Tensor wide = parameters[i].grad().to(at::kFloat);
        if (i == sums.size())
          sums.push_back(wide);
        else
          sums[i] = sums[i] + wide;
      }
    }
    for (std::size_t i = 0; i < parameters.size(); ++i)
      sums[i] = sums[i].to(parameters[i].scalar_type());
    return sums;
  }

  RunOptions options_;
  double scale_;
  std::int64_t good_steps_ = 0;
};

struct Worker
{
  std::map<std::uint64_t, std::pair<std::uint32_t, std::vector<std::vector<std::int64_t>>>>
      received;
  std::map<std::uint64_t, StepResult> results;
  std::vector<at::Tensor> parameters;
  std::string error;
  std::thread thread;
};

class JobTypes : public ::testing::TestWithParam<std::tuple<Types, bool>>
{
 protected:
  static constexpr std::uint64_t kVetoed[] = {9, 15};

  void work(Worker& worker, std::int64_t number, const RunOptions& options)
  {
    std::optional<Trainee> trainee;
    {
      const std::lock_guard lock(generator_);
      trainee.emplace(std::get<0>(GetParam()));
    }
    TrainState state(trainee->net, trainee->adam);
    state.add_optimizer(trainee->sgd);
    TrainData data(97, kBatch);
    data.max_micro_batch = 5;
    auto run = job_.runtime(number).start(state, data, options);
    for (auto& step : run.steps())
    {
      std::vector<std::vector<std::int64_t>> received;
      for (auto& micro : step)
      {
        received.push_back(micro.indices());
        micro.backward(trainee->loss(micro.indices()), micro.size());
      }
      for (const std::uint64_t vetoed : kVetoed)
        if (options.loss_scaling && step.number() == vetoed && run.rank() == vetoed % run.size())
          step.veto();
      const StepResult result = step.finish();
      if (result == StepResult::kAborted) continue;
      worker.received[step.number()] = {run.rank(), received};
      worker.results[step.number()] = result;
    }
    worker.parameters = copy_of(trainee->net->parameters());
  }

  // Trains with three workers, then gives their micro-batches to the plain loop.
  void expect_like_plain(const RunOptions& options, PlainLoop& plain)
  {
    for (std::int64_t number = 1; number <= 3; ++number)
    {
      Worker& worker = workers_.emplace_back();
      worker.thread = job_.start(number, worker.error, [this, &worker, number, &options] {
        work(worker, number, options);
      });
    }
    for (Worker& worker : workers_) worker.thread.join();
    for (Worker& worker : workers_) ASSERT_EQ(worker.error, "");
    const std::set<std::uint64_t> vetoed(std::begin(kVetoed), std::end(kVetoed));
    for (std::uint64_t step = 1; step <= kSteps; ++step)
    {
      Contributions ranks;
      std::set<StepResult> results;
      for (const Worker& worker : workers_)
      {
        if (!worker.received.contains(step)) continue;  // was copying the state
        const auto& [rank, received] = worker.received.at(step);
        if (!received.empty()) ranks[rank] = received;
        results.insert(worker.results.at(step));
      }
      ASSERT_FALSE(ranks.empty()) << step;
      const StepResult expected = plain.step(ranks, options.loss_scaling && vetoed.contains(step));
      EXPECT_EQ(results, (std::set<StepResult>{expected})) << step;
      if (expected == StepResult::kSkipped) ++skipped_;
    }
    for (std::size_t w = 1; w < 3; ++w)
      expect_equal(workers_[w].parameters, workers_[0].parameters);
    const std::vector<at::Tensor> expected = plain.trainee.net->parameters();
    if (options.fused_update)
      expect_close(workers_[0].parameters, expected, 0.05);
    else
      expect_equal(workers_[0].parameters, expected);
    EXPECT_EQ(job_.check_log().steps_applied, kSteps);
  }

  RunOptions options()
  {
    RunOptions options = toy_options(kSteps, std::get<1>(GetParam()));
    options.event_log_directory = job_.event_log_directory();
    options.first_bucket_bytes = 64;
    options.bucket_bytes = 256;
    return options;
  }

  InProcessJob job_{3};
  std::mutex generator_;
  std::deque<Worker> workers_;
  int skipped_ = 0;
};

TEST_P(JobTypes, AccumulateAndAverageAsAPlainLoop)
{
  const RunOptions plain_options = options();
  PlainLoop plain(std::get<0>(GetParam()), plain_options);
  expect_like_plain(plain_options, plain);
  EXPECT_EQ(skipped_, 0);
}

TEST_P(JobTypes, AreClippedByTheGlobalNorm)
{
  RunOptions clipping = options();
  clipping.clip_norm = 0.25;
  PlainLoop plain(std::get<0>(GetParam()), clipping);
  expect_like_plain(clipping, plain);
  EXPECT_GT(plain.clipped, 3);
}

// The scale begins where gradients of fp16 overflow, so the first steps are skipped.
TEST_P(JobTypes, SkipOverflowsAndVetoesByAgreement)
{
  RunOptions scaling = options();
  scaling.clip_norm = 0.25;
  scaling.loss_scaling = LossScaling{.initial = 1 << 22, .growth_interval = 4};
  PlainLoop plain(std::get<0>(GetParam()), scaling);
  expect_like_plain(scaling, plain);
  const Types& types = std::get<0>(GetParam());
  const bool overflows = std::find(types.begin(), types.end(), at::kHalf) != types.end();
  EXPECT_GE(skipped_, overflows ? 4 : 2);
  EXPECT_LT(skipped_, overflows ? 16 : 3);
}

INSTANTIATE_TEST_SUITE_P(
    All, JobTypes,
    ::testing::Combine(::testing::Values(Types{at::kBFloat16, at::kBFloat16, at::kBFloat16},
                                         Types{at::kHalf, at::kHalf, at::kHalf},
                                         Types{at::kFloat, at::kBFloat16, at::kFloat},
                                         Types{at::kBFloat16, at::kHalf, at::kFloat}),
                       ::testing::Bool()));

}  // namespace
}  // namespace spillway::testing
