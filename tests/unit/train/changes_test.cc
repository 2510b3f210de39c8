// SPDX-License-Identifier: Apache-2.0
// What a program changes between steps or micro-batches, past the runtime: it is said, never
// trained on in silence, since a worker that joins would not know of it.
#include <limits>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "toy_model.h"

namespace spillway::testing {
namespace {

using ::testing::HasSubstr;
using torch::optim::AdamW;
using torch::optim::AdamWOptions;

// With a frozen parameter.
struct Worker : ToyWorker
{
  explicit Worker(const RunOptions& options = toy_options(3))
      : ToyWorker(options, 4,
                  [](TrainState&, ToyNet& net) { net.spare->bias.set_requires_grad(false); })
  {
  }
};

// Where in step 2 the program does it.
enum class Place
{
  kBeforeTheStep,
  kBetweenMicroBatches,
  kBeforeFinish,
};

using Change = std::function<void(Worker&)>;

void train_with(Worker& worker, Place place, const Change& change)
{
  for (auto& step : worker.run->steps())
  {
    const bool now = step.number() == 2;
    if (now && place == Place::kBeforeTheStep) change(worker);
    for (auto& micro : step)
    {
      if (now && place == Place::kBetweenMicroBatches && micro.number() == 1) change(worker);
      micro.backward(worker.loss(micro), micro.size());
    }
    if (now && place == Place::kBeforeFinish) change(worker);
    step.finish();
  }
}

void expect_said(Place place, const Change& change, const std::string& text)
{
  for (const bool fused : {true, false})
  {
    Worker worker(toy_options(3, fused));
    try
    {
      train_with(worker, place, change);
      ADD_FAILURE() << "expected: " << text;
    }
    catch (const Error& error)
    {
      EXPECT_EQ(error.code(), absl::StatusCode::kFailedPrecondition) << error.what();
      EXPECT_THAT(error.what(), HasSubstr(text));
    }
  }
}

void expect_harmless(Place place, const Change& change)
{
  Worker plain;
  train_with(plain, place, [](Worker&) {});
  Worker worker;
  train_with(worker, place, change);
  expect_equal(worker.net->parameters(), plain.net->parameters());
}

TEST(TrainChanges, OfTheOptimizersStateAreSaid)
{
  const std::string text = "the state of parameter first.weight in optimizer 0";
  for (const Place place : {Place::kBeforeTheStep, Place::kBeforeFinish})
  {
    expect_said(
        place, [](Worker& worker) { worker.optimizer.state().clear(); }, text);
    expect_said(
        place,
        [](Worker& worker) {
          const void* key = worker.net->first->weight.unsafeGetTensorImpl();
          auto& state = static_cast<torch::optim::AdamWParamState&>(
              *worker.optimizer.state().at(const_cast<void*>(key)));
          state.exp_avg(torch::zeros_like(state.exp_avg()));
        },
        text);
  }
}

TEST(TrainChanges, OfTheOptimizersStateInAStepThatIsAbortedHurtNothing)
{
  Worker worker;
  bool aborted = false;
  EXPECT_THROW(
      for (auto& step
           : worker.run->steps()) {
        for (auto& micro : step) micro.backward(worker.loss(micro), micro.size());
        if (!aborted)
        {
          aborted = true;
          worker.optimizer.state().clear();
          worker.job.engine->abort();
        }
        step.finish();
      },
      Error);
}

TEST(TrainChanges, OfHyperparametersAreSaid)
{
  expect_said(
      Place::kBeforeTheStep,
      [](Worker& worker) {
        static_cast<AdamWOptions&>(worker.optimizer.param_groups()[0].options()).weight_decay(0.5);
      },
      "a hyperparameter of optimizer 0, group 0,");
  expect_said(
      Place::kBeforeTheStep,
      [](Worker& worker) {
        static_cast<AdamWOptions&>(worker.optimizer.param_groups()[0].options()).amsgrad(true);
      },
      "a hyperparameter of optimizer 0, group 0,");
}

TEST(TrainChanges, OfWhatIsTrainedAreSaid)
{
  expect_said(
      Place::kBeforeTheStep,
      [](Worker& worker) {
        std::vector<at::Tensor> more = {torch::zeros({2}).set_requires_grad(true)};
        worker.optimizer.add_param_group(torch::optim::OptimizerParamGroup(std::move(more)));
      },
      "parameters were added to optimizer 0 or taken from it");
  expect_said(
      Place::kBeforeTheStep,
      [](Worker& worker) {
        worker.optimizer.param_groups()[0].params().push_back(
            torch::zeros({2}).set_requires_grad(true));
      },
      "parameters were added to optimizer 0 or taken from it");
  expect_said(
      Place::kBeforeTheStep,
      [](Worker& worker) { worker.net->spare->bias.set_requires_grad(true); },
      "parameter spare.bias was frozen when the run started");
}

// Freezing is as if nobody used the parameter any more.
TEST(TrainChanges, AParameterMayBeFrozenLater)
{
  Worker worker;
  at::Tensor frozen;
  train_with(worker, Place::kBeforeTheStep, [&frozen](Worker& changed) {
    changed.net->first->bias.set_requires_grad(false);
    frozen = changed.net->first->bias.detach().clone();
  });
  EXPECT_TRUE(torch::equal(worker.net->first->bias, frozen));
}

TEST(TrainChanges, OfTheMemoryBehindATensorAreSaid)
{
  const std::string text = "parameter first.weight has got other memory";
  for (const Place place :
       {Place::kBeforeTheStep, Place::kBetweenMicroBatches, Place::kBeforeFinish})
    expect_said(
        place,
        [](Worker& worker) {
          worker.net->first->weight.set_data(worker.net->first->weight.detach().clone());
        },
        text);
}

TEST(TrainChanges, OfGradientsBetweenMicroBatchesAreSaid)
{
  const std::string text = "was changed between micro-batches";
  for (const bool to_none : {true, false})
    expect_said(
        Place::kBetweenMicroBatches,
        [to_none](Worker& worker) { worker.optimizer.zero_grad(to_none); }, text);
  for (const Place place :
       {Place::kBeforeTheStep, Place::kBetweenMicroBatches, Place::kBeforeFinish})
    expect_said(
        place,
        [](Worker& worker) {
          loss_sum(worker.net->forward(inputs({1, 2, 3}))).backward();
        },
        text);
}

TEST(TrainChanges, ClearingGradientsThatThereAreNotIsHarmless)
{
  for (const bool to_none : {true, false})
    for (const Place place : {Place::kBeforeTheStep, Place::kBeforeFinish})
      expect_harmless(place, [to_none](Worker& worker) { worker.optimizer.zero_grad(to_none); });
  // As in a search for adversarial inputs: a backward of the program's own, cleared again.
  for (const bool to_none : {true, false})
    expect_harmless(Place::kBeforeTheStep, [to_none](Worker& worker) {
      loss_sum(worker.net->forward(inputs({1, 2, 3}))).backward();
      worker.optimizer.zero_grad(to_none);
    });
}

TEST(TrainChanges, ABackwardThatThrewIsNotRepeated)
{
  Worker worker;
  try
  {
    for (auto& step : worker.run->steps())
      for (auto& micro : step)
      {
        const at::Tensor loss = worker.loss(micro);
        loss.register_hook([](const at::Tensor&) { throw std::length_error("no memory"); });
        EXPECT_THROW(micro.backward(loss, micro.size()), std::length_error);
        micro.backward(worker.loss(micro), micro.size());
      }
    ADD_FAILURE() << "the second one was taken";
  }
  catch (const Error& error)
  {
    EXPECT_THAT(error.what(), HasSubstr("threw before"));
  }
}

// A backward within backward, as in checkpoints of activations.
struct Nested : torch::autograd::Function<Nested>
{
  static at::Tensor forward(torch::autograd::AutogradContext* context, const at::Tensor& x,
                            const at::Tensor& weight)
  {
    context->saved_data["x"] = x;
    context->saved_data["weight"] = weight;
    return x * weight;
  }
  static torch::autograd::variable_list backward(torch::autograd::AutogradContext* context,
                                                 const torch::autograd::variable_list& gradients)
  {
    const at::AutoGradMode on(true);
    at::Tensor x = context->saved_data["x"].toTensor().detach().set_requires_grad(true);
    (x * context->saved_data["weight"].toTensor()).backward(gradients[0]);
    return {x.grad(), at::Tensor()};
  }
};

TEST(TrainChanges, AGradientThatComesTwiceInOneBackwardIsSaid)
{
  torch::nn::Linear layer(8, 8);
  const at::Tensor weight = layer->register_parameter("scale", torch::ones({8}));
  torch::optim::SGD optimizer(layer->parameters(), torch::optim::SGDOptions(0.1));
  FakeJob job;
  auto run = Runtime::with_engine("toy", job.factory())
                 .start(TrainState(layer, optimizer), toy_data(), toy_options(1));
  try
  {
    for (auto& step : run.steps())
    {
      for (auto& micro : step)
      {
        const at::Tensor once = Nested::apply(layer->forward(inputs(micro.indices())), weight);
        micro.backward(loss_sum(Nested::apply(once, weight)), micro.size());
      }
      step.finish();
    }
    ADD_FAILURE() << "half of the gradient was lost";
  }
  catch (const Error& error)
  {
    EXPECT_THAT(error.what(), HasSubstr("parameter scale got its gradient in several pieces"));
  }
}

TEST(TrainChanges, AVetoAfterTheStepIsSaid)
{
  Worker worker;
  try
  {
    for (auto& step : worker.run->steps())
    {
      for (auto& micro : step) micro.backward(worker.loss(micro), micro.size());
      step.finish();
      step.veto();
    }
    ADD_FAILURE() << "a veto without effect";
  }
  catch (const Error& error)
  {
    EXPECT_THAT(error.what(), HasSubstr("step.veto() after step.finish()"));
  }
}

TEST(TrainChanges, AVetoDoesNotHideThatTheJobStopsAtNan)
{
  RunOptions options = toy_options(5);
  options.on_nan = OnNan::kStop;
  Worker worker(options);
  try
  {
    for (auto& step : worker.run->steps())
    {
      for (auto& micro : step)
        micro.backward(worker.loss(micro) * std::numeric_limits<float>::quiet_NaN(), micro.size());
      step.veto();
      step.finish();
    }
    ADD_FAILURE() << "ended as if all were well";
  }
  catch (const Error& error)
  {
    EXPECT_THAT(error.what(), HasSubstr("the loss of step 1 was not a number"));
  }
}

}  // namespace
}  // namespace spillway::testing
