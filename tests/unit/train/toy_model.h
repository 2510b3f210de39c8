// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <torch/torch.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <vector>

#include "fake_engine.h"
#include "spillway/train/train.h"

namespace spillway::testing {

// Two layers, and one that is used only when asked for.
struct ToyNet : torch::nn::Module
{
  explicit ToyNet(std::int64_t width = 16)
      : first(register_module("first", torch::nn::Linear(8, width))),
        second(register_module("second", torch::nn::Linear(width, 4))),
        spare(register_module("spare", torch::nn::Linear(4, 4)))
  {
  }
  at::Tensor forward(const at::Tensor& x, bool with_spare = false)
  {
    at::Tensor y = second->forward(torch::tanh(first->forward(x)));
    return with_spare ? spare->forward(y) : y;
  }
  torch::nn::Linear first, second, spare;
};

// Samples made up from their index.
inline at::Tensor inputs(const std::vector<std::int64_t>& indices)
{
  std::vector<float> values;
  for (const std::int64_t index : indices)
    for (int i = 0; i < 8; ++i)
      values.push_back(static_cast<float>((index * 31 + i * 17) % 23) / 23.0F - 0.5F);
  return torch::tensor(values).view({-1, 8});
}

inline at::Tensor loss_sum(const at::Tensor& y)
{
  return (y.to(at::kFloat) - 0.25).square().sum();
}

inline std::shared_ptr<ToyNet> make_net(std::uint64_t seed = 3)
{
  torch::manual_seed(seed);
  return std::make_shared<ToyNet>();
}

inline std::vector<at::Tensor> copy_of(const std::vector<at::Tensor>& tensors)
{
  std::vector<at::Tensor> copies;
  for (const at::Tensor& tensor : tensors) copies.push_back(tensor.detach().clone());
  return copies;
}

inline void expect_equal(const std::vector<at::Tensor>& a, const std::vector<at::Tensor>& b)
{
  ASSERT_EQ(a.size(), b.size());
  for (std::size_t i = 0; i < a.size(); ++i)
    EXPECT_TRUE(torch::equal(a[i], b[i])) << "tensor " << i << "\n" << a[i] << "\n" << b[i];
}

inline void expect_close(const std::vector<at::Tensor>& a, const std::vector<at::Tensor>& b,
                         double tolerance = 1e-5)
{
  ASSERT_EQ(a.size(), b.size());
  for (std::size_t i = 0; i < a.size(); ++i)
    EXPECT_TRUE(torch::allclose(a[i].to(at::kDouble), b[i].to(at::kDouble), tolerance, tolerance))
        << "tensor " << i << "\n"
        << a[i] << "\n"
        << b[i];
}

inline TrainData toy_data(std::uint64_t max_micro_batch = 0)
{
  TrainData data(64, 8);
  data.max_micro_batch = max_micro_batch;
  data.seed = 5;
  return data;
}

// The loop of a plain program on the same data; the mean gradient.
inline void train_plainly(ToyNet& net, torch::optim::Optimizer& optimizer, std::uint64_t steps)
{
  engine::DataOptions options;
  options.parts = toy_data().parts;
  options.global_batch = 8;
  options.seed = 5;
  const auto data = *engine::DataPlan::create(options);
  Samples samples;
  for (std::uint64_t step = 1; step <= steps; ++step)
  {
    samples.fill(data, StepId(step), data.step_positions(StepId(step)), false);
    optimizer.zero_grad();
    (loss_sum(net.forward(inputs(samples.indices))) / 8).backward();
    optimizer.step();
  }
}

inline void train(Run& run, ToyNet& net, bool with_spare = false)
{
  for (auto& step : run.steps())
  {
    for (auto& micro : step)
      micro.backward(loss_sum(net.forward(inputs(micro.indices()), with_spare)), micro.size());
    step.finish();
  }
}

inline RunOptions toy_options(std::uint64_t steps, bool fused = true)
{
  RunOptions options;
  options.steps = steps;
  options.fused_update = fused;
  options.leave_on_sigterm = false;
  return options;
}

// A worker over an engine that only calls back. `prepare` comes before the run starts.
struct ToyWorker
{
  using Prepare = std::function<void(TrainState&, ToyNet&)>;
  explicit ToyWorker(const RunOptions& options, std::uint64_t max_micro_batch = 0,
                     const Prepare& prepare = {})
      : net(make_net()), optimizer(net->parameters(), torch::optim::AdamWOptions(0.01))
  {
    TrainState state(net, optimizer);
    if (prepare) prepare(state, *net);
    run.emplace(Runtime::with_engine("toy", job.factory())
                    .start(state, toy_data(max_micro_batch), options));
  }
  at::Tensor loss(const MicroBatch& micro)
  {
    return loss_sum(net->forward(inputs(micro.indices())));
  }
  FakeJob job;
  std::shared_ptr<ToyNet> net;
  torch::optim::AdamW optimizer;
  std::optional<spillway::Run> run;
};

}  // namespace spillway::testing
