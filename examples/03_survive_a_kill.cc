// SPDX-License-Identifier: Apache-2.0
// A worker that kills itself in the middle of a step, and a job that does not mind.
//
//   spillway run --standalone --nproc-per-node 3 build/release/bin/03_survive_a_kill
//
// The worker of rank 1 dies by SIGKILL in the backward of step 100. The others get that step again,
// with its samples cut anew; the agent starts a replacement, which copies the state and joins.
// At the end everybody compares parameters: they are equal bit for bit.
#include <torch/torch.h>

#include <csignal>
#include <cstdio>
#include <string>

#include "spillway/train/train.h"

namespace {

// y = sin(x) from samples on a grid.
at::Tensor inputs(const std::vector<std::int64_t>& indices)
{
  return torch::tensor(indices, torch::kFloat).view({-1, 1}) / 500 - 1;
}

std::string bytes_of(const torch::nn::Module& model)
{
  std::string bytes;
  for (const at::Tensor& parameter : model.parameters())
    bytes.append(static_cast<const char*>(parameter.const_data_ptr()), parameter.nbytes());
  return bytes;
}

}  // namespace

int main()
try
{
  auto runtime = spillway::Runtime::init();
  torch::nn::Sequential model(torch::nn::Linear(1, 64), torch::nn::Tanh(),
                              torch::nn::Linear(64, 1));
  torch::optim::AdamW optimizer(model->parameters(), torch::optim::AdamWOptions(3e-3));

  std::int64_t samples_seen = 0;  // the program's own state: a replacement gets it with the rest
  spillway::TrainState state(model, optimizer);
  state.add_scalar("samples_seen", samples_seen).on_applied([&](const spillway::AppliedStep& step) {
    samples_seen += static_cast<std::int64_t>(step.samples);
  });

  spillway::TrainData data(/*samples=*/1000, /*global_batch=*/60);
  spillway::RunOptions options;
  options.steps = 4000;
  auto run = runtime.start(state, data, options);
  if (runtime.restart_count() > 0) std::printf("a replacement has started\n");

  for (auto& step : run.steps())
  {
    if (step.redo())
      std::printf("rank %u: step %ju again, now %u workers\n", run.rank(),
                  std::uintmax_t{step.number()}, run.size());
    for (auto& micro : step)
    {
      const at::Tensor x = inputs(micro.indices());
      const at::Tensor loss = (model->forward(x) - torch::sin(3 * x)).square().sum();
      if (step.number() == 100 && run.rank() == 1 && runtime.restart_count() == 0 && !step.redo())
        std::raise(SIGKILL);
      micro.backward(loss, micro.size());
    }
    if (step.finish() == spillway::StepResult::kAborted) continue;

    if (run.rank() == 0 && step.number() % 1000 == 0)
      std::printf("step %ju: loss %.6f, %u workers\n", std::uintmax_t{step.number()}, step.loss(),
                  run.size());
    if (!step.is_last()) continue;
    const auto everybodys = run.gather_shares([&](auto, auto) { return bytes_of(*model); });
    if (!everybodys || run.rank() != 0) continue;
    bool equal = true;
    for (const std::string& other : *everybodys) equal = equal && other == everybodys->front();
    std::printf("%ju samples, each counted once; %zu replicas are %s\n",
                static_cast<std::uintmax_t>(samples_seen), everybodys->size(),
                equal ? "equal bit for bit" : "DIFFERENT");
    if (!equal) return 1;
  }
  return 0;
}
catch (const spillway::Error& error)
{
  std::fprintf(stderr, "03_survive_a_kill: %s\n", error.what());
  return 1;
}
