// SPDX-License-Identifier: Apache-2.0
// Clothes in ten classes, by a small perceptron, on any number of workers.
//
//   spillway run --standalone --nproc-per-node 3 build/release/bin/02_fashion_mnist
//
// Kill workers while it runs. It may be told how many passes to make, and after that a folder that
// holds the data set as Debian's dataset-fashion-mnist installs it.
#include <torch/torch.h>
#include <zlib.h>

#include <cstdio>
#include <optional>
#include <stdexcept>
#include <string>

#include "spillway/train/train.h"

namespace {

constexpr std::int64_t kPixels = 28 * 28;
constexpr std::uint64_t kGlobalBatch = 240;

// The bytes of a gzipped IDX file behind its header.
at::Tensor read_bytes(const std::string& path, std::int64_t header, std::int64_t count)
{
  at::Tensor bytes = torch::empty({header + count}, torch::kByte);
  gzFile file = gzopen(path.c_str(), "rb");
  if (file == nullptr)
    throw std::runtime_error("cannot open " + path + ": install Debian's dataset-fashion-mnist");
  const int got = gzread(file, bytes.data_ptr(), static_cast<unsigned>(bytes.numel()));
  gzclose(file);
  if (got != bytes.numel()) throw std::runtime_error(path + " is too short");
  return bytes.narrow(0, header, count);
}

struct Images
{
  Images(const std::string& folder, const std::string& name, std::int64_t count)
      : pixels(read_bytes(folder + "/" + name + "-images-idx3-ubyte.gz", 16, count * kPixels)
                   .view({count, kPixels})
                   .to(torch::kFloat)
                   .div_(255)),
        labels(read_bytes(folder + "/" + name + "-labels-idx1-ubyte.gz", 8, count).to(torch::kLong))
  {
  }
  at::Tensor pixels, labels;
};

// Each worker judges its share of the test images; none: this worker has no result.
std::optional<double> test_accuracy(spillway::Run& run, torch::nn::Sequential& model,
                                    const Images& test)
{
  const auto busy = run.busy("evaluate");
  torch::NoGradGuard no_grad;
  const std::int64_t count = test.labels.size(0);
  const auto right = run.sum_of_shares([&](std::int64_t rank, std::int64_t size) {
    const std::int64_t begin = count * rank / size, end = count * (rank + 1) / size;
    const auto predicted = model->forward(test.pixels.slice(0, begin, end)).argmax(1);
    return predicted.eq(test.labels.slice(0, begin, end)).sum().item<double>();
  });
  if (!right) return std::nullopt;
  return *right / static_cast<double>(count);
}

}  // namespace

int main(int argc, char** argv)
try
{
  const std::uint64_t passes = argc > 1 ? std::stoull(argv[1]) : 14;
  const std::string folder = argc > 2 ? argv[2] : "/usr/share/datasets/fashion-mnist";
  auto runtime = spillway::Runtime::init();
  const Images train(folder, "train", 60000), test(folder, "t10k", 10000);

  torch::nn::Sequential model(torch::nn::Linear(kPixels, 256), torch::nn::ReLU(),
                              torch::nn::Linear(256, 10));
  torch::optim::AdamW optimizer(model->parameters(), torch::optim::AdamWOptions(1e-3));

  spillway::TrainData data(60000, kGlobalBatch);
  data.max_micro_batch = kGlobalBatch / 2;
  spillway::RunOptions options;
  options.steps = passes * 60000 / kGlobalBatch;
  spillway::TrainState state(model, optimizer);
  state.schedule(spillway::LrSchedule::cosine(2e-3, *options.steps).warmed_up(50));
  auto run = runtime.start(state, data, options);

  for (auto& step : run.steps())
  {
    for (auto& micro : step)
    {
      const auto chosen = torch::tensor(micro.indices());
      const auto loss = torch::nn::functional::cross_entropy(
          model->forward(train.pixels.index_select(0, chosen)),
          train.labels.index_select(0, chosen),
          torch::nn::functional::CrossEntropyFuncOptions().reduction(torch::kSum));
      micro.backward(loss, micro.size());
    }
    if (step.finish() != spillway::StepResult::kApplied) continue;  // an aborted step comes again

    if (run.rank() == 0 && step.number() % 250 == 0)
      std::printf("step %4ju  %u workers  loss %.4f\n", std::uintmax_t{step.number()}, run.size(),
                  step.loss());
    if (step.is_last())
      if (const auto accuracy = test_accuracy(run, model, test); accuracy && run.rank() == 0)
        std::printf("test accuracy %.4f\n", *accuracy);
    std::fflush(stdout);
  }
  return 0;
}
catch (const std::exception& error)
{
  std::fprintf(stderr, "02_fashion_mnist: %s\n", error.what());
  return 1;
}
