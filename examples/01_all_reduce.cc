// SPDX-License-Identifier: Apache-2.0
// Workers agree on numbers: the smallest elastic program.
//
//   spillway run --standalone --nproc-per-node 3 build/release/bin/01_all_reduce
#include <torch/torch.h>

#include <cstdio>

#include "spillway/train/train.h"

int main()
try
{
  auto runtime = spillway::Runtime::init();

  // A model of one number, which learns the mean of the data set: 0, 1, … 99.
  torch::nn::Linear model(torch::nn::LinearOptions(1, 1).bias(false));
  torch::optim::SGD optimizer(model->parameters(), 0.1);
  spillway::TrainData data(/*samples=*/100, /*global_batch=*/20);
  spillway::RunOptions options;
  options.steps = 50;
  spillway::TrainState state(model, optimizer);
  state.schedule(spillway::LrSchedule::cosine(0.1, 50));
  auto run = runtime.start(state, data, options);

  for (auto& step : run.steps())
  {
    for (auto& micro : step)
    {
      auto values = torch::tensor(micro.indices(), torch::kFloat).view({-1, 1});
      auto loss = (model->forward(torch::ones_like(values)) - values).square().sum();
      micro.backward(loss, micro.size());
    }
    step.finish();
    if (!step.is_last()) continue;

    // Collectives of the program's own, between two steps: everybody's rank, summed and listed.
    at::Tensor ranks = torch::zeros({4}, torch::kLong);
    ranks[run.rank() % 4] = 1;
    const auto names = run.all_gather("worker " + std::to_string(run.rank()));
    if (!run.all_reduce(ranks) || !names) continue;  // this worker has to copy the state anew
    if (run.rank() != 0) continue;
    for (const auto& name : *names) std::printf("%s of %u is here\n", name.c_str(), run.size());
    std::printf("the mean of 0..99 is about %.2f\n", model->weight.item<double>());
  }
  return 0;
}
catch (const spillway::Error& error)
{
  std::fprintf(stderr, "01_all_reduce: %s\n", error.what());
  return 1;
}
