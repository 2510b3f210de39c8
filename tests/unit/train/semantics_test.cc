// SPDX-License-Identifier: Apache-2.0
// What a step does to a model, over an engine that only calls back.
#include <cmath>
#include <limits>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "toy_model.h"

namespace spillway::testing {
namespace {

using ::testing::ElementsAre;
using torch::optim::Adam;
using torch::optim::AdamOptions;
using torch::optim::AdamW;
using torch::optim::AdamWOptions;
using torch::optim::SGD;
using torch::optim::SGDOptions;

struct Worker
{
  explicit Worker(RunOptions options, std::uint64_t max_micro_batch = 0)
      : net(make_net()),
        optimizer(net->parameters(), AdamWOptions(0.01)),
        run(Runtime::with_engine("toy", job.factory())
                .start(TrainState(net, optimizer), toy_data(max_micro_batch), options))
  {
  }
  FakeJob job;
  std::shared_ptr<ToyNet> net;
  AdamW optimizer;
  Run run;
};

template <typename Optimizer, typename Options>
void expect_like_plain(const Options& optimizer_options)
{
  auto plain = make_net();
  Optimizer plain_optimizer(plain->parameters(), optimizer_options);
  train_plainly(*plain, plain_optimizer, 6);
  for (const bool fused : {false, true})
  {
    FakeJob job;
    auto net = make_net();
    Optimizer optimizer(net->parameters(), optimizer_options);
    auto run = Runtime::with_engine("toy", job.factory())
                   .start(TrainState(net, optimizer), toy_data(), toy_options(6, fused));
    train(run, *net);
    if (fused)
      expect_close(net->parameters(), plain->parameters());
    else
      expect_equal(net->parameters(), plain->parameters());
  }
}

TEST(TrainStep, GivesTheBitsOfAPlainLoop)
{
  expect_like_plain<AdamW>(AdamWOptions(0.01).weight_decay(0.1).amsgrad(true));
  expect_like_plain<Adam>(AdamOptions(0.01).weight_decay(0.1));
  expect_like_plain<SGD>(SGDOptions(0.05).momentum(0.9).nesterov(true));
  expect_like_plain<SGD>(SGDOptions(0.05));
}

TEST(TrainStep, DampensMomentumAsLibtorchDoes)
{
  const auto options = SGDOptions(0.05).momentum(0.9).dampening(0.5);
  auto plain = make_net();
  SGD plain_optimizer(plain->parameters(), options);
  train_plainly(*plain, plain_optimizer, 6);
  FakeJob job;
  auto net = make_net();
  SGD optimizer(net->parameters(), options);
  auto run = Runtime::with_engine("toy", job.factory())
                 .start(TrainState(net, optimizer), toy_data(), toy_options(6, false));
  train(run, *net);
  expect_close(net->parameters(), plain->parameters());
}

TEST(TrainStep, AddsUpMicroBatches)
{
  Worker whole(toy_options(4));
  train(whole.run, *whole.net);
  RunOptions logged = toy_options(4);
  logged.event_log_directory = "somewhere";  // the engine's business, and this one writes none
  Worker pieces(logged, 3);
  train(pieces.run, *pieces.net);
  expect_close(pieces.net->parameters(), whole.net->parameters());
  EXPECT_EQ(pieces.job.contribution.samples, 8u);
  EXPECT_EQ(pieces.job.contribution.weight, 8.0);
  ASSERT_EQ(pieces.job.received.size(), 1u);
  EXPECT_EQ(pieces.job.received[0], (engine::PositionRange{0, 24, 32}));
}

TEST(TrainStep, DividesByTheReducedWeight)
{
  Worker plain(toy_options(3));
  train(plain.run, *plain.net);
  Worker heavy(toy_options(3));
  for (auto& step : heavy.run.steps())
  {
    for (auto& micro : step)
      micro.backward(4 * loss_sum(heavy.net->forward(inputs(micro.indices()))), 32);
    EXPECT_EQ(step.finish(), StepResult::kApplied);
  }
  expect_close(heavy.net->parameters(), plain.net->parameters());
}

TEST(TrainStep, LeavesUnusedParametersAlone)
{
  Worker worker(toy_options(3));
  const auto before = copy_of(worker.net->spare->parameters());
  train(worker.run, *worker.net);
  // Weight decay would have shrunk them, had they had a gradient of zeros.
  expect_equal(worker.net->spare->parameters(), before);
  EXPECT_THAT(worker.job.used, ElementsAre(0b001111));
  EXPECT_FALSE(worker.net->spare->weight.grad().defined());
}

TEST(TrainStep, UpdatesWhatOnlyOthersUsed)
{
  Worker worker(toy_options(1));
  worker.job.others = [](engine::StepTotals& totals, auto&) {
    totals.used_parameters = {0b111111};
  };
  const auto before = copy_of(worker.net->spare->parameters());
  train(worker.run, *worker.net);
  EXPECT_FALSE(torch::equal(worker.net->spare->weight, before[0]));
  // All used by somebody: no bitmap either.
  Worker all(toy_options(1));
  train(all.run, *all.net, true);
  EXPECT_TRUE(all.job.used.empty());
}

TEST(TrainStep, SkipsAVetoedStepAndGoesOn)
{
  Worker worker(toy_options(2));
  const auto before = copy_of(worker.net->parameters());
  for (auto& step : worker.run.steps())
  {
    for (auto& micro : step)
      micro.backward(loss_sum(worker.net->forward(inputs(micro.indices()))), micro.size());
    if (step.number() == 1) step.veto();
    EXPECT_EQ(step.finish(), step.number() == 1 ? StepResult::kSkipped : StepResult::kApplied);
    if (step.number() == 1) expect_equal(worker.net->parameters(), before);
  }
  EXPECT_FALSE(torch::equal(worker.net->first->weight, before[0]));
  EXPECT_EQ(worker.job.values<std::int64_t>("optimizer0.steps")[0], 1);
}

TEST(TrainStep, LowersTheLossScaleOnOverflowAndRaisesItAgain)
{
  RunOptions options = toy_options(5);
  options.loss_scaling = LossScaling{.initial = 1024, .growth_interval = 3};
  Worker worker(options);
  Worker plain(toy_options(4));
  const auto start = copy_of(worker.net->parameters());
  worker.job.others = [](engine::StepTotals& totals, auto& sums) {
    const float infinite = std::numeric_limits<float>::infinity();
    if (totals.name.step == StepId(1)) std::memcpy(sums[0].data(), &infinite, sizeof infinite);
  };
  const double* scale = worker.job.values<double>("loss_scale");
  EXPECT_EQ(*scale, 1024);
  for (auto& step : worker.run.steps())
  {
    for (auto& micro : step)
      micro.backward(loss_sum(worker.net->forward(inputs(micro.indices()))), micro.size());
    EXPECT_EQ(step.finish(), step.number() == 1 ? StepResult::kSkipped : StepResult::kApplied);
    if (step.number() == 1) expect_equal(worker.net->parameters(), start);
    EXPECT_EQ(*scale, step.number() < 4 ? 512 : 1024) << step.number();
  }
}

TEST(TrainStep, ClipsByTheGlobalNormOfTheMean)
{
  auto plain = make_net();
  SGD plain_optimizer(plain->parameters(), SGDOptions(1.0));
  RunOptions options = toy_options(1);
  options.clip_norm = 0.01;
  FakeJob job;
  auto net = make_net();
  SGD optimizer(net->parameters(), SGDOptions(1.0));
  auto run = Runtime::with_engine("toy", job.factory())
                 .start(TrainState(net, optimizer), toy_data(), options);
  const auto before = copy_of(net->parameters());
  train(run, *net);
  double squares = 0;
  for (std::size_t i = 0; i < before.size(); ++i)
    squares += (net->parameters()[i] - before[i]).square().sum().item<double>();
  EXPECT_NEAR(std::sqrt(squares), 0.01, 1e-4);
}

// The square of such a gradient is beyond fp32.
TEST(TrainStep, ClipsBfloat16GradientsOfAnySize)
{
  RunOptions options = toy_options(1);
  options.clip_norm = 0.5;
  FakeJob job;
  auto net = make_net();
  net->to(at::kBFloat16);
  SGD optimizer(net->parameters(), SGDOptions(1.0));
  auto run = Runtime::with_engine("toy", job.factory())
                 .start(TrainState(net, optimizer), toy_data(), options);
  job.others = [](engine::StepTotals& totals, auto& sums) {
    totals.used_parameters.clear();
    constexpr std::uint16_t kHuge = 0x61ad;  // 4e20
    for (std::size_t i = 0; i + 1 < sums[0].size(); i += 2)
      std::memcpy(&sums[0][i], &kHuge, sizeof kHuge);
  };
  const auto before = copy_of(net->parameters());
  for (auto& step : run.steps())
  {
    for (auto& micro : step)
      micro.backward(loss_sum(net->forward(inputs(micro.indices()).to(at::kBFloat16))),
                     micro.size());
    EXPECT_EQ(step.finish(), StepResult::kApplied);
  }
  double squares = 0;
  for (std::size_t i = 0; i < before.size(); ++i)
    squares += (net->parameters()[i].to(at::kDouble) - before[i].to(at::kDouble))
                   .square()
                   .sum()
                   .item<double>();
  EXPECT_NEAR(std::sqrt(squares), 0.5, 0.05);
}

// The scale may pass what the type of the loss can hold: an overflow like any other.
TEST(TrainStep, LowersALossScaleThatALossOfFp16CannotHold)
{
  RunOptions options = toy_options(8);
  options.loss_scaling = LossScaling{.initial = 1 << 21, .growth_interval = 100};
  FakeJob job;
  auto net = make_net();
  net->to(at::kHalf);
  SGD optimizer(net->parameters(), SGDOptions(0.01));
  auto run = Runtime::with_engine("toy", job.factory())
                 .start(TrainState(net, optimizer), toy_data(), options);
  const auto before = copy_of(net->parameters());
  std::vector<StepResult> results;
  for (auto& step : run.steps())
  {
    for (auto& micro : step)
      micro.backward(loss_sum(net->forward(inputs(micro.indices()).to(at::kHalf))).to(at::kHalf),
                     micro.size());
    results.push_back(step.finish());
    // 2^21 over a batch of 8 samples is 2^18; what fp16 holds ends below 2^16.
    if (step.number() == 3) expect_equal(net->parameters(), before);
  }
  for (std::size_t i = 0; i < 3; ++i) EXPECT_EQ(results[i], StepResult::kSkipped) << i;
  EXPECT_EQ(results.back(), StepResult::kApplied);
  EXPECT_LE(*job.values<double>("loss_scale"), 1 << 18);
}

TEST(TrainStep, TrainsBfloat16Parameters)
{
  FakeJob job;
  auto net = make_net();
  net->to(at::kBFloat16);
  AdamW optimizer(net->parameters(), AdamWOptions(0.01));
  RunOptions options = toy_options(8);
  options.clip_norm = 1.0;
  auto run = Runtime::with_engine("toy", job.factory())
                 .start(TrainState(net, optimizer), toy_data(), options);
  double first = 0, last = 0;
  for (auto& step : run.steps())
  {
    for (auto& micro : step)
      micro.backward(loss_sum(net->forward(inputs(micro.indices()).to(at::kBFloat16))),
                     micro.size());
    step.finish();
    (step.number() == 1 ? first : last) = step.loss();
  }
  EXPECT_EQ(job.specs[0].type, comm::DType::kBf16);
  EXPECT_LT(last, first);
}

TEST(TrainStep, MergesBuffersAsAMeanOverSamples)
{
  torch::nn::Sequential model(torch::nn::Linear(8, 4),
                              torch::nn::BatchNorm1d(torch::nn::BatchNormOptions(4).momentum(1)));
  SGD optimizer(model->parameters(), SGDOptions(0.0));
  FakeJob job;
  job.share_end = 6;  // of 8: the other one has 2
  auto run = Runtime::with_engine("toy", job.factory())
                 .start(TrainState(model, optimizer), toy_data(), toy_options(1));
  ASSERT_EQ(job.specs.size(), 3u);
  EXPECT_EQ(job.specs[1].type, comm::DType::kFp32);
  EXPECT_EQ(job.specs[2].type, comm::DType::kInt64);
  job.others = [](engine::StepTotals& totals, auto& sums) {
    totals.samples += 2;
    totals.veto = true;  // a vetoed step merges too, or the replicas would differ
    auto* floats = reinterpret_cast<float*>(sums[1].data());
    for (int i = 0; i < 4; ++i) floats[i] += 10.0F * 2 / 8;  // its running mean is 10
  };
  at::Tensor expected;
  for (auto& step : run.steps())
  {
    for (auto& micro : step)
    {
      at::Tensor hidden = model[0]->as<torch::nn::Linear>()->forward(inputs(micro.indices()));
      expected = hidden.detach().mean(0) * 6 / 8 + 2.5;
      micro.backward(loss_sum(model->forward(inputs(micro.indices()))), micro.size());
    }
    EXPECT_EQ(step.finish(), StepResult::kSkipped);
  }
  const auto buffers = model->named_buffers();
  expect_close({buffers["1.running_mean"]}, {expected});
  EXPECT_EQ(buffers["1.num_batches_tracked"].item<std::int64_t>(), 1);
}

TEST(TrainStep, TakesIntegerBuffersFromTheLead)
{
  torch::nn::Sequential model(torch::nn::Linear(8, 4), torch::nn::BatchNorm1d(4));
  SGD optimizer(model->parameters(), SGDOptions(0.1));
  FakeJob job;
  job.lead = false;
  auto run = Runtime::with_engine("toy", job.factory())
                 .start(TrainState(model, optimizer), toy_data(2), toy_options(1));
  job.others = [](engine::StepTotals&, auto& sums) {
    std::int64_t value = 0;
    std::memcpy(&value, sums[2].data(), sizeof value);
    EXPECT_EQ(value, 0);
    value = 3;
    std::memcpy(sums[2].data(), &value, sizeof value);
  };
  for (auto& step : run.steps())
  {
    for (auto& micro : step)
      micro.backward(loss_sum(model->forward(inputs(micro.indices()))), micro.size());
    step.finish();
  }
  EXPECT_EQ(model->named_buffers()["1.num_batches_tracked"].item<std::int64_t>(), 3);
}

TEST(TrainStep, KeepsFrozenParametersInTheStateButNotInTheBuckets)
{
  FakeJob job;
  auto net = make_net();
  net->first->weight.set_requires_grad(false);
  AdamW optimizer(net->parameters(), AdamWOptions(0.01));
  auto run = Runtime::with_engine("toy", job.factory())
                 .start(TrainState(net, optimizer), toy_data(), toy_options(2));
  const auto before = net->first->weight.clone();
  train(run, *net);
  EXPECT_TRUE(torch::equal(net->first->weight, before));
  EXPECT_EQ(job.state("first.weight").size(), 16u * 8 * 4);
  EXPECT_TRUE(job.state("optimizer0.first.weight.exp_avg").empty());
  EXPECT_EQ(job.options.parameter_count, 5u);
}

TEST(TrainStep, HandsInTheFirstBucketWhileBackwardRuns)
{
  RunOptions options = toy_options(1);
  options.first_bucket_bytes = 1;
  Worker worker(options);
  ASSERT_GT(worker.job.specs.size(), 1u);
  std::vector<std::string> at_first_layer;
  worker.net->first->weight.register_hook(
      [&](const at::Tensor&) { at_first_layer = worker.job.calls; });
  train(worker.run, *worker.net, true);
  EXPECT_THAT(at_first_layer, ::testing::Contains("ready 0"));
}

TEST(TrainStep, SeedsGeneratorsByStepAndPosition)
{
  std::vector<at::Tensor> drawn;
  for (int round = 0; round < 2; ++round)
  {
    torch::manual_seed(static_cast<std::uint64_t>(round));
    Worker worker(toy_options(2), 4);
    for (auto& step : worker.run.steps())
    {
      for (auto& micro : step)
      {
        drawn.push_back(torch::randn({4}));
        micro.backward(loss_sum(worker.net->forward(inputs(micro.indices()))), micro.size());
      }
      step.finish();
    }
  }
  ASSERT_EQ(drawn.size(), 8u);
  for (std::size_t i = 0; i < 4; ++i) EXPECT_TRUE(torch::equal(drawn[i], drawn[i + 4]));
  EXPECT_FALSE(torch::equal(drawn[0], drawn[1]));
}

}  // namespace
}  // namespace spillway::testing
