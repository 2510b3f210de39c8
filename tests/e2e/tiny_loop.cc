// SPDX-License-Identifier: Apache-2.0
#include <torch/torch.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <optional>
#include <stdexcept>
#include <string>

#include "spillway/base/clock.h"
#include "spillway/train/train.h"

// A loop on the train API that goes wrong where it is told to; everything else as in any program.
namespace {

struct Options
{
  std::uint64_t steps = 50;
  std::uint64_t samples = 1024;
  std::uint64_t batch = 64;
  std::int64_t width = 8;
  std::uint64_t nan_at = 0;  // the loss of this step is not a number
  bool stop_on_nan = false;
  std::uint64_t throw_at = 0;  // user code throws in this step
  int threads = 1;
  std::uint64_t skip_step = 0;    // in this step the loop leaves a sample out …
  std::uint64_t repeat_step = 0;  // … or computes one twice
  bool loader = false;            // and it does so in what it gives a Loader
  bool show_hooks = false;        // prints when each step's last gradient was there
};

Options parse(int argc, char** argv)
{
  Options options;
  for (int i = 1; i + 1 < argc; i += 2)
  {
    const std::string name = argv[i];
    const long value = std::strtol(argv[i + 1], nullptr, 10);
    const auto count = static_cast<std::uint64_t>(value);
    if (name == "--steps") options.steps = count;
    if (name == "--samples") options.samples = count;
    if (name == "--batch") options.batch = count;
    if (name == "--width") options.width = value;
    if (name == "--nan-at") options.nan_at = count;
    if (name == "--stop-on-nan") options.stop_on_nan = value != 0;
    if (name == "--throw-at") options.throw_at = count;
    if (name == "--skip-step") options.skip_step = count;
    if (name == "--repeat-step") options.repeat_step = count;
    if (name == "--loader") options.loader = value != 0;
    if (name == "--show-hooks") options.show_hooks = value != 0;
    if (name == "--threads") options.threads = static_cast<int>(value);
  }
  return options;
}

// What a wrong loop does with the samples that it was given.
void tamper(const Options& options, const spillway::Samples& samples)
{
  auto& indices = const_cast<spillway::Samples&>(samples).indices;
  if (samples.step == options.skip_step) indices.pop_back();
  if (samples.step == options.repeat_step) indices.push_back(indices.front());
}

int train(const Options& options)
{
  torch::set_num_threads(options.threads);
  torch::manual_seed(7);
  auto runtime = spillway::Runtime::init();
  torch::nn::Sequential model(torch::nn::Linear(4, options.width), torch::nn::ReLU(),
                              torch::nn::Linear(options.width, 1));
  torch::optim::SGD optimizer(model->parameters(), torch::optim::SGDOptions(0.01).momentum(0.9));
  spillway::RunOptions how;
  how.steps = options.steps;
  how.first_bucket_bytes = 256;
  how.bucket_bytes = 1024;
  how.on_nan = options.stop_on_nan ? spillway::OnNan::kStop : spillway::OnNan::kWarn;
  auto run = runtime.start(spillway::TrainState(model, optimizer),
                           spillway::TrainData(options.samples, options.batch), how);
  const auto load = [&options](const spillway::Samples& samples) {
    tamper(options, samples);
    return torch::tensor(samples.indices, torch::kLong);
  };
  std::optional<spillway::Loader<at::Tensor>> loader;
  if (options.loader) loader.emplace(run, load);
  // Backward ends with the first layer: when this hook runs, no gradient is missing any more.
  spillway::MonotonicTime last_gradient{};
  model->parameters()[0].register_hook(
      [&](const at::Tensor&) { last_gradient = spillway::system_clock().now(); });
  for (auto& step : run.steps())
  {
    if (step.number() == options.throw_at) throw std::runtime_error("the user's own mistake");
    for (auto& micro : step)
    {
      const auto indices = loader ? loader->get(micro) : load(micro.samples());
      const auto x = torch::stack({indices % 2, indices % 3, indices % 5, indices % 7}, 1);
      const auto y = (indices % 11).to(torch::kFloat).unsqueeze(1);
      auto loss = (model->forward(x.to(torch::kFloat)) - y).square().sum();
      if (step.number() == options.nan_at) loss = loss * NAN;
      micro.backward(loss, micro.size());
    }
    step.finish();
    if (!options.show_hooks) continue;
    std::printf("pid %d step %ju: last gradient at %jd\n", getpid(), std::uintmax_t{step.number()},
                std::intmax_t{last_gradient.time_since_epoch().count()});
    std::fflush(stdout);
  }
  std::printf("tiny_loop ended\n");
  return 0;
}

}  // namespace

int main(int argc, char** argv)
{
  try
  {
    return train(parse(argc, argv));
  }
  catch (const spillway::Error& error)
  {
    std::fprintf(stderr, "tiny_loop: %s\n", error.what());
    return 4;
  }
}
