// SPDX-License-Identifier: Apache-2.0
// Aborts, copies of the state, refusals and wrong use, over an engine that only calls back.
#include <atomic>
#include <limits>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "toy_model.h"

namespace spillway::testing {
namespace {

using ::testing::HasSubstr;
using torch::optim::AdamW;
using torch::optim::AdamWOptions;
using torch::optim::SGD;
using torch::optim::SGDOptions;

template <typename Body>
void expect_error(Body body, absl::StatusCode code, const std::string& text)
{
  try
  {
    body();
    ADD_FAILURE() << "expected: " << text;
  }
  catch (const Error& error)
  {
    EXPECT_EQ(error.code(), code) << error.what();
    EXPECT_THAT(error.what(), HasSubstr(text));
  }
}

void copy_state(const FakeJob& from, FakeJob& to)
{
  for (const engine::StateEntry& entry : from.table.entries())
  {
    const MutableByteSpan target = to.state(entry.name);
    ASSERT_EQ(target.size(), entry.bytes.size()) << entry.name;
    if (!target.empty()) std::memcpy(target.data(), entry.bytes.data(), target.size());
  }
}

// A joiner copies bytes, and trains on as if it had been there.
void expect_copy_trains_on(RunOptions options)
{
  std::int64_t seen = 0, copied = 0;
  at::Tensor average = torch::zeros({4}), average_copied = torch::zeros({4});
  const auto add = [](std::int64_t& scalar, at::Tensor& tensor) {
    return [&](TrainState& state, ToyNet&) {
      state.add_scalar("seen", scalar).add_tensor("average", tensor);
      state.on_applied([&scalar, &tensor](const AppliedStep& step) {
        scalar += static_cast<std::int64_t>(step.samples);
        tensor.mul_(0.5).add_(static_cast<double>(step.number));
      });
      state.schedule(LrSchedule::cosine(0.02, 10));
    };
  };
  ToyWorker donor(options, 0, add(seen, average));
  ToyWorker joiner(options, 0, add(copied, average_copied));
  EXPECT_EQ(donor.job.table.layout_hash(), joiner.job.table.layout_hash());
  bool joined = false;
  for (auto& step : donor.run->steps())
  {
    if (step.number() == 4)
    {
      // The joiner's engine takes over the state of a boundary, and both have the same steps left.
      copy_state(donor.job, joiner.job);
      ASSERT_TRUE(joiner.job.replica->import_state().ok());
      joined = true;
    }
    for (auto& micro : step) micro.backward(donor.loss(micro), micro.size());
    step.finish();
  }
  ASSERT_TRUE(joined);
  EXPECT_EQ(copied, 24);
  EXPECT_EQ(average_copied[0].item<float>(), 4.25F);
  joiner.job.first_step = 4;
  train(*joiner.run, *joiner.net);
  EXPECT_EQ(copied, 48);
  EXPECT_TRUE(torch::equal(average, average_copied));
  expect_equal(joiner.net->parameters(), donor.net->parameters());
  const auto& state = static_cast<const torch::optim::AdamWParamState&>(
      *joiner.optimizer.state().at(joiner.net->first->weight.unsafeGetTensorImpl()));
  EXPECT_EQ(state.step(), 6);
}

TEST(TrainCopy, TrainsOnAsTheDonor)
{
  expect_copy_trains_on(toy_options(6));
  expect_copy_trains_on(toy_options(6, false));
}

TEST(TrainCopy, TrainsOnAsTheDonorThroughCopiesInHostMemory)
{
  RunOptions options = toy_options(6);
  options.stage_through_host = true;
  expect_copy_trains_on(options);
}

TEST(TrainAbort, YieldsTheStepAgainWithNothingChanged)
{
  ToyWorker plain(toy_options(3), 2);
  train(*plain.run, *plain.net);
  for (const std::uint64_t ready : {0, 1})
  {
    ToyWorker worker(toy_options(3), 2);
    std::size_t micro_batches = 0;
    std::vector<std::uint64_t> numbers;
    for (auto& step : worker.run->steps())
    {
      numbers.push_back(step.number());
      EXPECT_EQ(step.redo(), numbers.size() == 3);
      for (auto& micro : step)
      {
        micro.backward(worker.loss(micro), micro.size());
        ++micro_batches;
        // In the middle of the slice, or when the last micro-batch hands in its bucket.
        if (ready == 0 && numbers.size() == 2 && micro.number() == 1) worker.job.engine->abort();
        worker.job.abort_step = ready == 0 ? 0 : 2;
        worker.job.abort_after_ready = 1;
      }
      EXPECT_EQ(step.finish(), numbers.size() == 2 ? StepResult::kAborted : StepResult::kApplied);
    }
    EXPECT_EQ(numbers, (std::vector<std::uint64_t>{1, 2, 2, 3}));
    EXPECT_EQ(micro_batches, ready == 0 ? 14u : 16u);
    expect_equal(worker.net->parameters(), plain.net->parameters());
  }
}

TEST(TrainNan, WarnsOrStops)
{
  for (const bool stop : {false, true})
  {
    RunOptions options = toy_options(4);
    options.on_nan = stop ? OnNan::kStop : OnNan::kWarn;
    ToyWorker worker(options);
    const auto poison = [&] {
      for (auto& step : worker.run->steps())
      {
        for (auto& micro : step)
          micro.backward(worker.loss(micro) *
                             (step.number() == 2 ? std::numeric_limits<float>::quiet_NaN() : 1),
                         micro.size());
        step.finish();
      }
    };
    if (stop)
      expect_error(poison, absl::StatusCode::kFailedPrecondition, "the loss of step 2");
    else
      poison();
    EXPECT_EQ(worker.net->first->weight.isnan().any().item<bool>(), !stop);
  }
}

template <typename Optimizer, typename Options>
void expect_refused(const Options& options, const std::string& text)
{
  auto net = make_net();
  Optimizer optimizer(net->parameters(), options);
  FakeJob job;
  expect_error(
      [&] {
        Runtime::with_engine("toy", job.factory())
            .start(TrainState(net, optimizer), toy_data(), toy_options(1));
      },
      absl::StatusCode::kInvalidArgument, text);
}

TEST(TrainRefuses, WhatItCannotHandToAJoiner)
{
  expect_refused<torch::optim::LBFGS>(torch::optim::LBFGSOptions(0.1), "several times within one");
  expect_refused<torch::optim::RMSprop>(torch::optim::RMSpropOptions(0.1), "RMSprop");
  struct Own : SGD
  {
    using SGD::SGD;
  };
  expect_refused<Own>(SGDOptions(0.1), "Use torch::optim::AdamW, Adam or SGD");

  auto net = make_net();
  SGD optimizer(net->parameters(), SGDOptions(0.1));
  TrainState state(net, optimizer);
  torch::optim::StepLR scheduler(optimizer, 1, 0.5);
  expect_error([&] { state.schedule(scheduler); }, absl::StatusCode::kInvalidArgument,
               "Use spillway::LrSchedule");
  SGD second(net->first->parameters(), SGDOptions(0.1));
  state.add_optimizer(second);
  FakeJob job;
  expect_error(
      [&] { Runtime::with_engine("toy", job.factory()).start(state, toy_data(), toy_options(1)); },
      absl::StatusCode::kInvalidArgument, "first.weight belongs to optimizers 0 and 1");
}

TEST(TrainRefuses, DataAndOptionsThatDoNotFit)
{
  auto net = make_net();
  SGD optimizer(net->parameters(), SGDOptions(0.1));
  FakeJob job;
  Runtime runtime = Runtime::with_engine("toy", job.factory());
  const TrainState state(net, optimizer);
  expect_error([&] { runtime.start(state, TrainData(7, 8), toy_options(1)); },
               absl::StatusCode::kInvalidArgument, "fewer than one global batch of 8");
  expect_error([&] { runtime.start(state, toy_data(), toy_options(0)); },
               absl::StatusCode::kInvalidArgument, "nothing to do");
  net->first->weight.set_requires_grad(false);
  SGD none({net->first->weight}, SGDOptions(0.1));
  expect_error([&] { runtime.start(TrainState(net, none), toy_data(), toy_options(1)); },
               absl::StatusCode::kInvalidArgument, "nothing to train");
}

// One step with a wrong loop; the run is lost afterwards, as it would be in a program.
void expect_misuse(const std::function<void(ToyWorker&, Step&)>& loop, const std::string& text)
{
  ToyWorker worker(toy_options(3), 4);
  expect_error(
      [&] {
        for (auto& step : worker.run->steps()) loop(worker, step);
      },
      absl::StatusCode::kFailedPrecondition, text);
}

// A loop that ends by `break`, or that finishes the step from within.
TEST(TrainLoop, MayBeLeftOnceTheLastMicroBatchIsIn)
{
  ToyWorker plain(toy_options(4), 3);
  train(*plain.run, *plain.net);
  for (const bool finish_within : {false, true})
  {
    RunOptions options = toy_options(4);
    options.event_log_directory = "somewhere";  // the engine's business, and this one writes none
    ToyWorker worker(options, 3);
    for (auto& step : worker.run->steps())
    {
      std::uint64_t done = 0;
      for (auto& micro : step)
      {
        micro.backward(worker.loss(micro), micro.size());
        done += micro.size();
        if (done < step.samples()) continue;
        if (!finish_within) break;
        EXPECT_EQ(step.finish(), StepResult::kApplied);
      }
      if (!finish_within)
      {
        EXPECT_EQ(step.finish(), StepResult::kApplied);
      }
      EXPECT_EQ(worker.job.contribution.samples, 8u);
      EXPECT_EQ(worker.job.contribution.weight, 8.0);
      ASSERT_EQ(worker.job.received.size(), 1u);
      EXPECT_EQ(worker.job.received[0].size(), 8u);
    }
    expect_equal(worker.net->parameters(), plain.net->parameters());
  }
}

TEST(TrainRefuses, LoopsThatWouldLoseSamples)
{
  expect_misuse([](ToyWorker&, Step& step) { step.finish(); }, "0 of 2 micro-batches");
  expect_misuse(
      [](ToyWorker& worker, Step& step) {
        for (auto& micro : step)
        {
          micro.backward(worker.loss(micro), micro.size());
          break;
        }
        step.finish();
      },
      "1 of 2 micro-batches");
  expect_misuse(
      [](ToyWorker& worker, Step& step) {
        for (auto& micro : step)
        {
          if (micro.number() == 1) break;
          micro.backward(worker.loss(micro), micro.size());
        }
        step.finish();
      },
      "1 of 2 micro-batches");
  expect_misuse([](ToyWorker&, Step&) {}, "call step.finish()");
  expect_misuse(
      [](ToyWorker&, Step& step) {
        for ([[maybe_unused]] auto& micro : step) continue;
      },
      "had no micro.backward()");
  expect_misuse(
      [](ToyWorker& worker, Step& step) {
        for (auto& micro : step)
        {
          micro.backward(worker.loss(micro), micro.size());
          micro.backward(worker.loss(micro), micro.size());
        }
      },
      "called twice");
  expect_misuse(
      [](ToyWorker& worker, Step& step) {
        for (auto& micro : step) micro.backward(worker.loss(micro), micro.size());
        worker.optimizer.param_groups()[0].options().set_lr(0.5);
        step.finish();
      },
      "changed from 0.01 to 0.5");
}

TEST(TrainRefuses, SparseGradientsAndLossesThatAreNoNumber)
{
  torch::nn::Embedding embedding(torch::nn::EmbeddingOptions(64, 4).sparse(true));
  SGD optimizer(embedding->parameters(), SGDOptions(0.1));
  FakeJob job;
  auto run = Runtime::with_engine("toy", job.factory())
                 .start(TrainState(embedding, optimizer), toy_data(), toy_options(1));
  expect_error(
      [&] {
        for (auto& step : run.steps())
          for (auto& micro : step)
            micro.backward(embedding->forward(torch::tensor(micro.indices())).sum(), 8);
      },
      absl::StatusCode::kInvalidArgument, "parameter weight got a sparse gradient");
  ToyWorker worker(toy_options(1));
  expect_error(
      [&] {
        for (auto& step : worker.run->steps())
          for (auto& micro : step) micro.backward(worker.net->forward(inputs(micro.indices())), 8);
      },
      absl::StatusCode::kInvalidArgument, "takes one number");
}

TEST(TrainErrors, OfTheProgramPassThrough)
{
  ToyWorker worker(toy_options(2));
  EXPECT_THROW(
      {
        for (auto& step : worker.run->steps())
          for (auto& micro : step)
            if (micro.size() > 0) throw std::out_of_range("no such file");
      },
      std::out_of_range);
  const auto add = [](TrainState& state, ToyNet&) {
    state.on_applied([](const AppliedStep&) { throw std::domain_error("no such rule"); });
  };
  ToyWorker strict(toy_options(2), 0, add);
  EXPECT_THROW(train(*strict.run, *strict.net), std::domain_error);
}

TEST(TrainCollectives, ReturnWhetherThereIsAResult)
{
  ToyWorker worker(toy_options(1));
  at::Tensor counts = torch::arange(3, at::kLong);
  double value = 2.5;
  for (auto& step : worker.run->steps())
  {
    for (auto& micro : step) micro.backward(worker.loss(micro), micro.size());
    step.finish();
    EXPECT_TRUE(worker.run->all_reduce(counts));
    EXPECT_TRUE(worker.run->all_reduce(value));
    EXPECT_EQ(worker.run->all_gather("mine")->front(), "mine");
    EXPECT_TRUE(worker.run->barrier());
    worker.job.collective = absl::AbortedError("the step was aborted");
    EXPECT_FALSE(worker.run->all_reduce(counts));
    EXPECT_FALSE(worker.run->all_gather("mine"));
    worker.job.collective = absl::InternalError("broken");
    EXPECT_THROW(static_cast<void>(worker.run->barrier()), Error);
  }
  EXPECT_THAT(worker.job.calls, ::testing::Contains("all_reduce int64 24"));
  at::Tensor bytes = torch::zeros({3}, at::kByte);
  EXPECT_THROW(static_cast<void>(worker.run->all_reduce(bytes)), Error);
}

TEST(TrainLoader, GivesTheBatchAskedForWhenSlicesChange)
{
  RunOptions options = toy_options(9);
  options.event_log_directory = "somewhere";  // the engine's business, and this one writes none
  ToyWorker worker(options, 2);
  std::atomic<int> loads = 0;
  Loader<at::Tensor> loader(*worker.run, [&](const Samples& samples) {
    ++loads;
    if (samples.step == 9) throw std::range_error("unreadable");
    return inputs(samples.indices);
  });
  int asked = 0;
  const auto loop = [&] {
    for (auto& step : worker.run->steps())
    {
      for (auto& micro : step)
      {
        const at::Tensor batch = loader.get(micro);
        ++asked;
        // What is counted as received is what the loader gave.
        EXPECT_TRUE(torch::equal(batch, inputs(micro.indices())));
        micro.backward(loss_sum(worker.net->forward(batch)), static_cast<double>(batch.size(0)));
      }
      step.finish();
      ASSERT_EQ(worker.job.received.size(), 1u);
      EXPECT_EQ(worker.job.received[0].size(), step.samples());
      EXPECT_EQ(worker.job.contribution.samples, step.samples());
      worker.job.share_begin = step.number() % 3;
      worker.job.share_end = 8 - step.number() % 2;
    }
  };
  EXPECT_THROW(loop(), std::range_error);
  EXPECT_GT(loads.load(), asked);
}

}  // namespace
}  // namespace spillway::testing
