// SPDX-License-Identifier: Apache-2.0
// Models of unusual tensors train as in a plain loop, over an engine that only calls back.
#include <cmath>
#include <limits>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "toy_model.h"

namespace spillway::testing {
namespace {

using ::testing::HasSubstr;
using torch::optim::AdamW;
using torch::optim::AdamWOptions;
using torch::optim::OptimizerParamGroup;
using torch::optim::SGD;
using torch::optim::SGDOptions;

struct Bag : torch::nn::Module
{
  at::Tensor add(const at::Tensor& tensor)
  {
    return register_parameter("p" + std::to_string(parameters().size()), tensor);
  }
};

// A model, what it computes, and its optimizers.
struct Trainee
{
  std::shared_ptr<torch::nn::Module> model;
  std::function<at::Tensor(const at::Tensor&)> loss;
  std::unique_ptr<torch::optim::Optimizer> optimizer;
};

constexpr std::uint64_t kSteps = 5;

void train_plainly(Trainee& trainee, const RunOptions& options,
                   const std::optional<LrSchedule>& rate)
{
  engine::DataOptions wanted;
  wanted.parts = toy_data().parts;
  wanted.global_batch = 8;
  wanted.seed = 5;
  const auto data = *engine::DataPlan::create(wanted);
  std::vector<double> ratios;
  for (const auto& group : trainee.optimizer->param_groups())
    ratios.push_back(group.options().get_lr() /
                     trainee.optimizer->param_groups()[0].options().get_lr());
  Samples samples;
  for (std::uint64_t step = 1; step <= kSteps; ++step)
  {
    samples.fill(data, StepId(step), data.step_positions(StepId(step)), false);
    trainee.optimizer->zero_grad();
    (trainee.loss(inputs(samples.indices)) / 8).backward();
    if (options.clip_norm > 0)
      torch::nn::utils::clip_grad_norm_(trainee.model->parameters(), options.clip_norm);
    for (std::size_t g = 0; rate && g < ratios.size(); ++g)
      trainee.optimizer->param_groups()[g].options().set_lr(rate->at(step) * ratios[g]);
    trainee.optimizer->step();
  }
}

void expect_like_plain(const std::function<Trainee()>& make, RunOptions options = {},
                       const std::optional<LrSchedule>& rate = {}, double tolerance = 1e-5)
{
  Trainee plain = make();
  train_plainly(plain, options, rate);
  for (const bool fused : {true, false})
    for (const bool stage : {false, true})
    {
      Trainee trainee = make();
      FakeJob job;
      options.steps = kSteps;
      options.fused_update = fused;
      options.stage_through_host = stage;
      options.leave_on_sigterm = false;
      TrainState state(*trainee.model, *trainee.optimizer);
      if (rate) state.schedule(*rate);
      auto run = Runtime::with_engine("toy", job.factory()).start(state, toy_data(3), options);
      for (auto& step : run.steps())
      {
        for (auto& micro : step)
          micro.backward(trainee.loss(inputs(micro.indices())), micro.size());
        EXPECT_EQ(step.finish(), StepResult::kApplied);
      }
      SCOPED_TRACE(::testing::Message() << "fused " << fused << " staged " << stage);
      expect_close(trainee.model->parameters(), plain.model->parameters(), tolerance);
    }
}

std::unique_ptr<torch::optim::Optimizer> adamw(const torch::nn::Module& model)
{
  return std::make_unique<AdamW>(model.parameters(), AdamWOptions(0.01).weight_decay(0.1));
}

std::unique_ptr<torch::optim::Optimizer> momentum(const torch::nn::Module& model)
{
  return std::make_unique<SGD>(model.parameters(),
                               SGDOptions(0.02).momentum(0.9).nesterov(true).weight_decay(0.01));
}

at::Tensor noise(at::IntArrayRef sizes, std::uint64_t seed = 1)
{
  torch::manual_seed(seed);
  return torch::randn(sizes);
}

TEST(TrainTensors, ThatAreNoWholeBlockOfMemory)
{
  for (const bool adam : {true, false})
  {
    std::vector<at::Tensor> blocks;
    expect_like_plain([&] {
      auto bag = std::make_shared<Bag>();
      blocks.push_back(noise({8, 16}));
      const at::Tensor part = bag->add(blocks.back().narrow(1, 2, 6));
      const at::Tensor turned = bag->add(noise({6, 12}, 2).t().narrow(0, 1, 8));
      return Trainee{bag,
                     [=](const at::Tensor& x) {
                       return loss_sum(x.matmul(part)) + loss_sum(x.matmul(turned));
                     },
                     adam ? adamw(*bag) : momentum(*bag)};
    });
    // What lies beside the parameter is not touched.
    for (const at::Tensor& block : blocks)
    {
      EXPECT_TRUE(torch::equal(block.narrow(1, 0, 2), noise({8, 16}).narrow(1, 0, 2)));
      EXPECT_TRUE(torch::equal(block.narrow(1, 8, 8), noise({8, 16}).narrow(1, 8, 8)));
    }
  }
}

// As after loading an optimizer that was saved.
TEST(TrainTensors, WhoseOptimizerStateLiesInAnotherOrder)
{
  expect_like_plain([] {
    auto bag = std::make_shared<Bag>();
    const at::Tensor weight = bag->add(noise({6, 8}).t());
    auto optimizer = adamw(*bag);
    auto state = std::make_unique<torch::optim::AdamWParamState>();
    state->step(3);
    state->exp_avg(noise({8, 6}, 3) * 0.1);
    state->exp_avg_sq(noise({8, 6}, 4).square());
    optimizer->state()[weight.unsafeGetTensorImpl()] = std::move(state);
    return Trainee{bag, [=](const at::Tensor& x) { return loss_sum(x.matmul(weight)); },
                   std::move(optimizer)};
  });
}

TEST(TrainTensors, OfSeveralTypesAndShapesInOneGroup)
{
  RunOptions options;
  options.clip_norm = 0.5;
  for (const bool adam : {true, false})
    expect_like_plain(
        [adam] {
          auto bag = std::make_shared<Bag>();
          const at::Tensor wide = bag->add(noise({8, 3}).to(at::kDouble));
          const at::Tensor flat = bag->add(noise({8, 3}, 2));
          const at::Tensor number = bag->add(torch::tensor(0.5F));
          bag->add(torch::zeros({0, 4}));
          const at::Tensor image =
              bag->add(noise({2, 3, 2, 2}, 3).contiguous(at::MemoryFormat::ChannelsLast));
          return Trainee{
              bag,
              [=](const at::Tensor& x) {
                const at::Tensor double_part = x.to(at::kDouble).matmul(wide);
                const at::Tensor seen = torch::conv2d(
                    (x.narrow(1, 0, 1) * number).view({-1, 1, 1, 1}).expand({-1, 3, 4, 4}), image);
                return (double_part + x.matmul(flat) * number).square().sum() + loss_sum(seen);
              },
              adam ? adamw(*bag) : momentum(*bag)};
        },
        options);
}

TEST(TrainTensors, OfNarrowTypes)
{
  const std::vector<SGDOptions> all = {SGDOptions(0.2), SGDOptions(0.2).weight_decay(0.1),
                                       SGDOptions(0.1).momentum(0.9),
                                       SGDOptions(0.1).momentum(0.9).nesterov(true)};
  for (const at::ScalarType type : {at::kBFloat16, at::kHalf})
    for (const SGDOptions& options : all)
    {
      const auto make = [&] {
        auto bag = std::make_shared<Bag>();
        const at::Tensor wide = bag->add(noise({8, 6}).to(type));
        const at::Tensor small = bag->add(noise({6}, 2).to(type));
        return Trainee{
            bag, [=](const at::Tensor& x) { return loss_sum(x.to(type).matmul(wide) + small); },
            std::make_unique<SGD>(bag->parameters(), options)};
      };
      SCOPED_TRACE(::testing::Message() << type << " momentum " << options.momentum());
      Trainee trained = make();
      const at::Tensor before = trained.model->parameters()[0].detach().clone();
      train_plainly(trained, {}, {});
      const at::Tensor moved = trained.model->parameters()[0].detach() - before;
      ASSERT_GT(moved.abs().max().item<double>(), 0.15);
      expect_like_plain(make, {}, {}, 0.03);
    }
}

TEST(TrainTensors, OfGroupsWithRatesOfTheirOwn)
{
  const auto make = [] {
    auto net = make_net();
    std::vector<OptimizerParamGroup> groups;
    groups.emplace_back(net->first->parameters(),
                        std::make_unique<SGDOptions>(SGDOptions(0.04).momentum(0.5)));
    groups.emplace_back(net->second->parameters(),
                        std::make_unique<SGDOptions>(SGDOptions(0.01).weight_decay(0.2)));
    return Trainee{net, [net](const at::Tensor& x) { return loss_sum(net->forward(x)); },
                   std::make_unique<SGD>(groups, SGDOptions(0.1))};
  };
  expect_like_plain(make);
  expect_like_plain(make, {}, LrSchedule::step_decay(0.08, 2, 0.5));
}

struct TwoNames : torch::nn::Module
{
  TwoNames() : layer(8, 8)
  {
    register_module("in", layer);
    register_module("out", layer);
  }
  torch::nn::Linear layer;
};

TEST(TrainTensors, ThatHaveTwoNames)
{
  const auto loss = [](const std::shared_ptr<TwoNames>& net) {
    return [net](const at::Tensor& x) {
      return loss_sum(net->layer->forward(torch::tanh(net->layer->forward(x))));
    };
  };
  expect_like_plain([&] {
    torch::manual_seed(3);
    auto net = std::make_shared<TwoNames>();
    return Trainee{net, loss(net),
                   std::make_unique<AdamW>(net->layer->parameters(), AdamWOptions(0.01))};
  });
  auto net = std::make_shared<TwoNames>();
  AdamW twice(net->parameters(), AdamWOptions(0.01));
  FakeJob job;
  try
  {
    Runtime::with_engine("toy", job.factory())
        .start(TrainState(net, twice), toy_data(), toy_options(1));
    ADD_FAILURE() << "would be updated twice";
  }
  catch (const Error& error)
  {
    EXPECT_THAT(error.what(), HasSubstr("in.weight is in optimizer 0 twice"));
  }
}

TEST(TrainTensors, OfOptimizersThatHaveNone)
{
  auto net = make_net();
  AdamW optimizer(net->parameters(), AdamWOptions(0.01));
  FakeJob job;
  {
    SGD none(std::vector<at::Tensor>{}, SGDOptions(0.1));
    TrainState state(net, optimizer);
    state.add_optimizer(none);
    auto run = Runtime::with_engine("toy", job.factory()).start(state, toy_data(), toy_options(2));
    train(run, *net);
  }
  const auto expect_refused = [&](torch::optim::Optimizer& other, const std::string& text,
                                  bool scheduled) {
    TrainState state(net, optimizer);
    state.add_optimizer(other);
    if (scheduled) state.schedule(LrSchedule::constant(0.1), 1);
    try
    {
      Runtime::with_engine("toy", job.factory()).start(state, toy_data(), toy_options(1));
      ADD_FAILURE() << "expected: " << text;
    }
    catch (const Error& error)
    {
      EXPECT_EQ(error.code(), absl::StatusCode::kInvalidArgument);
      EXPECT_THAT(error.what(), HasSubstr(text));
    }
  };
  SGD bare(std::vector<OptimizerParamGroup>{}, SGDOptions(0.1));
  expect_refused(bare, "optimizer 1 has no parameter group", false);
  std::vector<OptimizerParamGroup> groups;
  groups.emplace_back(std::vector<at::Tensor>{}, std::make_unique<SGDOptions>(0.0));
  groups.emplace_back(std::vector<at::Tensor>{}, std::make_unique<SGDOptions>(0.1));
  SGD odd(groups, SGDOptions(0.1));
  expect_refused(odd, "the first group's learning rate is 0", true);
}

TEST(TrainTensors, ManyTinyOnes)
{
  constexpr int kCount = 8000;
  auto bag = std::make_shared<Bag>();
  std::vector<at::Tensor> numbers;
  for (int i = 0; i < kCount; ++i)
    numbers.push_back(bag->register_parameter("p" + std::to_string(i), torch::tensor(1.0F)));
  AdamW optimizer(numbers, AdamWOptions(0.01));
  FakeJob job;
  auto run = Runtime::with_engine("toy", job.factory())
                 .start(TrainState(bag, optimizer), toy_data(), toy_options(2));
  for (auto& step : run.steps())
  {
    for (auto& micro : step)
      micro.backward(at::stack(std::vector<at::Tensor>(numbers.begin(), numbers.end() - 1)).sum(),
                     micro.size());
    step.finish();
  }
  EXPECT_LT(numbers[kCount - 2].item<float>(), 1.0F);
  EXPECT_EQ(numbers[kCount - 1].item<float>(), 1.0F);
}

struct Buffered : torch::nn::Module
{
  Buffered() : layer(register_module("layer", torch::nn::Linear(8, 4))) {}
  torch::nn::Linear layer;
};

// A worker without samples in a step, since there are more workers than samples.
TEST(TrainTensors, OfBuffersThatAreNotFinite)
{
  const float infinite = std::numeric_limits<float>::infinity();
  auto net = std::make_shared<Buffered>();
  const at::Tensor mask = net->register_buffer("mask", torch::tensor({0.0F, -infinite}));
  const at::Tensor lowest = net->register_buffer("lowest", torch::full({1}, infinite));
  SGD optimizer(net->parameters(), SGDOptions(0.1));
  FakeJob job;
  job.share_begin = job.share_end = 8;
  auto run = Runtime::with_engine("toy", job.factory())
                 .start(TrainState(net, optimizer), toy_data(), toy_options(1));
  job.others = [&](engine::StepTotals& totals, auto& sums) {
    totals.samples = 8;
    totals.weight = 8;
    auto* floats = reinterpret_cast<float*>(sums[1].data());
    EXPECT_EQ(floats[0], 0.0F);
    EXPECT_EQ(floats[1], 0.0F);
    EXPECT_EQ(floats[2], 0.0F);
    floats[1] += -infinite;  // the other one, which has all samples, saw 3 at least
    floats[2] += 3;
  };
  for (auto& step : run.steps())
  {
    for (auto& micro : step) ADD_FAILURE() << micro.size() << " samples";
    step.finish();
  }
  EXPECT_TRUE(torch::equal(mask, torch::tensor({0.0F, -infinite})));
  EXPECT_EQ(lowest.item<float>(), 3.0F);
}

TEST(TrainTensors, OfBuffersThatNobodyChangesKeepTheirBits)
{
  auto net = std::make_shared<Buffered>();
  const at::Tensor table = net->register_buffer("table", noise({1000}));
  SGD optimizer(net->parameters(), SGDOptions(0.1));
  FakeJob job;
  job.share_end = 3;
  auto run = Runtime::with_engine("toy", job.factory())
                 .start(TrainState(net, optimizer), toy_data(), toy_options(20));
  // The other worker's share of the same values, as it would have written it.
  job.others = [&](engine::StepTotals& totals, auto& sums) {
    totals.samples = 8;
    auto* floats = reinterpret_cast<float*>(sums[1].data());
    for (int i = 0; i < 1000; ++i) floats[i] += floats[i] / (3.0F / 8) * (5.0F / 8);
  };
  for (auto& step : run.steps())
  {
    for (auto& micro : step)
      micro.backward(loss_sum(net->layer->forward(inputs(micro.indices()))), micro.size());
    step.finish();
  }
  EXPECT_TRUE(torch::equal(table, noise({1000})));
}

// As of a mean of the weights, or a bound on them: also where the registered memory is a copy.
TEST(TrainTensors, ThatOnAppliedChangesAreRegisteredAsChanged)
{
  for (const bool stage : {false, true})
  {
    auto net = make_net();
    auto mean = make_net();
    AdamW optimizer(net->parameters(), AdamWOptions(0.01));
    TrainState state(net, optimizer);
    state.add_module("mean", *mean);
    state.on_applied([&](const AppliedStep&) {
      const at::NoGradGuard no_grad;
      net->first->weight.clamp_(-0.01, 0.01);
      mean->first->weight.mul_(0.5).add_(net->first->weight, 0.5);
    });
    RunOptions options = toy_options(2);
    options.stage_through_host = stage;
    FakeJob job;
    auto run = Runtime::with_engine("toy", job.factory()).start(state, toy_data(), options);
    for (auto& step : run.steps())
    {
      for (auto& micro : step)
        micro.backward(loss_sum(net->forward(inputs(micro.indices()))), micro.size());
      if (step.number() == 2) step.veto();
      step.finish();
      for (const auto& [name, tensor] : {std::pair("first.weight", net->first->weight),
                                         std::pair("mean.first.weight", mean->first->weight)})
        EXPECT_EQ(std::memcmp(job.state(name).data(), tensor.data_ptr(), tensor.nbytes()), 0)
            << name << " in step " << step.number() << ", staged " << stage;
    }
  }
}

TEST(TrainTensors, HyperparametersAreComparedInFull)
{
  const auto layout = [](double rate, double schedule) {
    auto net = make_net();
    AdamW optimizer(net->parameters(), AdamWOptions(rate));
    FakeJob job;
    TrainState state(net, optimizer);
    if (schedule > 0) state.schedule(LrSchedule::constant(schedule));
    auto run = Runtime::with_engine("toy", job.factory()).start(state, toy_data(), toy_options(1));
    return job.table.layout_hash();
  };
  EXPECT_EQ(layout(0.123456789, 0), layout(0.123456789, 0));
  EXPECT_NE(layout(0.123456789, 0), layout(0.123456788, 0));
  EXPECT_NE(layout(0.1, 0.123456789), layout(0.1, 0.123456788));
}

}  // namespace
}  // namespace spillway::testing
