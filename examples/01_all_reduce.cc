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

    // Collectives of the program's own, between two steps: everybody's share, summed and listed,
    // computed again should workers come or go meanwhile.
    const auto sum = run.sum_of_shares([](auto rank, auto) { return 1.0 + rank; });
    const auto names =
        run.gather_shares([](auto rank, auto) { return "worker " + std::to_string(rank); });
    if (!sum || !names) continue;  // this worker has to copy the state anew
    if (run.rank() != 0) continue;
    std::printf("1 + ... + %u is %.0f\n", run.size(), *sum);
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
