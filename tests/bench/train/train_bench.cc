// SPDX-License-Identifier: Apache-2.0
// Steps per second of an MLP 784-256-10, AdamW, 64 samples a worker, one thread each. Prints one
// JSON object.
//
//   train_bench --mode runtime|bare [--workers 2] [--steps 400] [--plain-update]
//
// runtime: N workers of one job under `spillway run`. bare: N processes side by side, each a plain
// libtorch loop of its own. Both on the same data, both after a warm-up of a tenth of the steps.
// The answer is checked first: replicas must be equal bit for bit, and after some steps close to
// what one plain loop over the whole batch gives.
#include <sys/wait.h>
#include <torch/torch.h>
#include <unistd.h>

#include <chrono>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <optional>
#include <sstream>
#include <string>
#include <vector>

#include "absl/strings/numbers.h"
#include "spillway/base/hash.h"
#include "spillway/base/rng.h"
#include "spillway/train/train.h"

namespace spillway {
namespace {

constexpr std::int64_t kBatch = 64;
constexpr std::int64_t kSamples = 4096;
constexpr std::uint64_t kCompared = 10;  // steps after which the parameters are compared

struct Flags
{
  std::string mode = "runtime";
  std::uint32_t workers = 2;
  std::uint64_t steps = 400;
  bool plain_update = false;
  std::string results;  // of a worker: where it writes
  std::uint64_t number = 0;
};

struct Result
{
  double seconds = 0;
  double first_loss = 0;
  double last_loss = 0;
  std::uint64_t hash = 0;  // of the parameters at the end
};

struct Bench
{
  Bench()
  {
    torch::set_num_threads(1);
    torch::manual_seed(1);
    pixels = torch::randn({kSamples, 784});
    labels = torch::randint(0, 10, {kSamples});
    model = torch::nn::Sequential(torch::nn::Linear(784, 256), torch::nn::ReLU(),
                                  torch::nn::Linear(256, 10));
    optimizer = std::make_unique<torch::optim::AdamW>(model->parameters(),
                                                      torch::optim::AdamWOptions(1e-3));
  }
  at::Tensor loss_sum(const std::vector<std::int64_t>& indices)
  {
    const at::Tensor chosen =
        torch::from_blob(const_cast<std::int64_t*>(indices.data()),
                         {static_cast<std::int64_t>(indices.size())}, torch::kLong);
    return torch::nn::functional::cross_entropy(
        model->forward(pixels.index_select(0, chosen)), labels.index_select(0, chosen),
        torch::nn::functional::CrossEntropyFuncOptions().reduction(torch::kSum));
  }
  at::Tensor flat_parameters()
  {
    std::vector<at::Tensor> all;
    for (const at::Tensor& parameter : model->parameters())
      all.push_back(parameter.detach().flatten());
    return torch::cat(all);
  }
  std::uint64_t hash()
  {
    const at::Tensor all = flat_parameters();
    return content_hash({static_cast<const std::byte*>(all.const_data_ptr()),
                         static_cast<std::size_t>(all.nbytes())});
  }
  double plain_step(const std::vector<std::int64_t>& indices)
  {
    optimizer->zero_grad();
    const at::Tensor loss = loss_sum(indices) / static_cast<double>(indices.size());
    loss.backward();
    optimizer->step();
    return loss.item<double>();
  }
  at::Tensor pixels, labels;
  torch::nn::Sequential model{nullptr};
  std::unique_ptr<torch::optim::AdamW> optimizer;
};

TrainData data_of(std::uint32_t workers)
{
  TrainData data(kSamples, kBatch * workers);
  data.max_micro_batch = kBatch;
  return data;
}

engine::DataPlan plan_of(std::uint32_t workers)
{
  engine::DataOptions options;
  options.parts = data_of(workers).parts;
  options.global_batch = kBatch * workers;
  return *engine::DataPlan::create(options);
}

using Time = std::chrono::steady_clock::time_point;

double seconds_since(Time begin)
{
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
}

void write_result(const Flags& flags, std::uint64_t number, const Result& result)
{
  const std::string path = flags.results + "/" + std::to_string(number);
  std::ofstream(path + ".new") << result.seconds << ' ' << result.first_loss << ' '
                               << result.last_loss << ' ' << result.hash << '\n';
  std::filesystem::rename(path + ".new", path);
}

void write_compared(const Flags& flags, Bench& bench)
{
  const at::Tensor all = bench.flat_parameters();
  std::ofstream(flags.results + "/compared", std::ios::binary)
      .write(static_cast<const char*>(all.const_data_ptr()),
             static_cast<std::streamsize>(all.nbytes()));
}

int bare_worker(const Flags& flags)
{
  Bench bench;
  const engine::DataPlan plan = plan_of(1);
  const std::uint64_t warm_up = flags.steps / 10;
  Result result;
  Samples samples;
  Time begin;
  for (std::uint64_t step = 1; step <= warm_up + flags.steps; ++step)
  {
    if (step == warm_up + 1) begin = std::chrono::steady_clock::now();
    samples.fill(plan, StepId(step), plan.step_positions(StepId(step)), false);
    result.last_loss = bench.plain_step(samples.indices);
    if (step == 1) result.first_loss = result.last_loss;
  }
  result.seconds = seconds_since(begin);
  result.hash = bench.hash();
  write_result(flags, flags.number, result);
  return 0;
}

int runtime_worker(const Flags& flags)
{
  Bench bench;
  const std::uint64_t warm_up = flags.steps / 10;
  RunOptions options;
  options.steps = warm_up + flags.steps;
  options.fused_update = !flags.plain_update;
  auto runtime = Runtime::init();
  auto run =
      runtime.start(TrainState(bench.model, *bench.optimizer), data_of(flags.workers), options);
  Result result;
  Time begin;
  for (auto& step : run.steps())
  {
    if (step.number() == warm_up + 1) begin = std::chrono::steady_clock::now();
    for (auto& micro : step) micro.backward(bench.loss_sum(micro.indices()), micro.size());
    if (step.finish() != StepResult::kApplied) return 1;  // nobody disturbs this job
    if (step.is_last()) result.seconds = seconds_since(begin);
    if (result.first_loss == 0) result.first_loss = step.loss();
    if (step.number() == kCompared && run.rank() == 0) write_compared(flags, bench);
    result.last_loss = step.loss();
  }
  result.hash = bench.hash();
  write_result(flags, run.rank(), result);
  return 0;
}

// -------------------------------------------------------------------- the driver

pid_t start(const std::vector<std::string>& command)
{
  std::vector<char*> arguments;
  for (const std::string& word : command) arguments.push_back(const_cast<char*>(word.c_str()));
  arguments.push_back(nullptr);
  const pid_t child = fork();
  if (child == 0)
  {
    dup2(STDERR_FILENO, STDOUT_FILENO);  // standard output is for the result
    execv(arguments[0], arguments.data());
    _exit(127);
  }
  return child;
}

bool all_succeed(const std::vector<pid_t>& children)
{
  bool good = true;
  for (const pid_t child : children)
  {
    int status = 0;
    good = waitpid(child, &status, 0) == child && WIFEXITED(status) && WEXITSTATUS(status) == 0 &&
           good;
  }
  return good;
}

// Empty: right.
std::string judge(const Flags& flags, const std::vector<Result>& results)
{
  for (const Result& result : results)
  {
    if (!(result.last_loss < result.first_loss)) return "the loss did not fall";
    if (flags.mode == "runtime" && result.hash != results[0].hash) return "replicas differ";
  }
  if (flags.mode != "runtime") return "";
  Bench reference;
  const engine::DataPlan plan = plan_of(flags.workers);
  Samples samples;
  for (std::uint64_t step = 1; step <= kCompared; ++step)
  {
    samples.fill(plan, StepId(step), plan.step_positions(StepId(step)), false);
    reference.plain_step(samples.indices);
  }
  const at::Tensor expected = reference.flat_parameters();
  at::Tensor found = torch::zeros_like(expected);
  std::ifstream file(flags.results + "/compared", std::ios::binary);
  file.read(static_cast<char*>(found.data_ptr()), static_cast<std::streamsize>(found.nbytes()));
  if (!file) return "no parameters to compare";
  // AdamW's first updates have the size of the learning rate and the sign of the gradient, so a
  // gradient near zero may differ wholly; on average they must agree to rounding.
  const double mean = (expected - found).abs().mean().item<double>();
  return mean < 1e-6
             ? ""
             : "parameters differ from a plain loop's, on average by " + std::to_string(mean);
}

int drive(Flags flags)
{
  const auto self = std::filesystem::read_symlink("/proc/self/exe");
  const auto folder = std::filesystem::temp_directory_path() /
                      ("spillway-train-bench-" + std::to_string(secure_random_u64()));
  std::filesystem::create_directories(folder);
  flags.results = folder.string();
  std::vector<std::string> worker = {self,
                                     "--mode",
                                     flags.mode,
                                     "--workers",
                                     std::to_string(flags.workers),
                                     "--steps",
                                     std::to_string(flags.steps),
                                     "--results",
                                     flags.results};
  if (flags.plain_update) worker.push_back("--plain-update");
  std::vector<pid_t> children;
  if (flags.mode == "runtime")
  {
    std::vector<std::string> command = {self.parent_path() / "spillway", "run", "--standalone",
                                        "--nproc-per-node", std::to_string(flags.workers)};
    command.insert(command.end(), worker.begin(), worker.end());
    children.push_back(start(command));
  }
  for (std::uint32_t i = 0; flags.mode == "bare" && i < flags.workers; ++i)
  {
    auto command = worker;
    command.insert(command.end(), {"--number", std::to_string(i)});
    children.push_back(start(command));
  }
  std::string wrong = all_succeed(children) ? "" : "a process failed";
  std::vector<Result> results(flags.workers);
  for (std::uint32_t i = 0; wrong.empty() && i < flags.workers; ++i)
  {
    std::ifstream file(folder / std::to_string(i));
    Result& result = results[i];
    if (!(file >> result.seconds >> result.first_loss >> result.last_loss >> result.hash))
      wrong = "worker " + std::to_string(i) + " has no result";
  }
  if (wrong.empty()) wrong = judge(flags, results);
  std::filesystem::remove_all(folder);
  if (!wrong.empty())
  {
    std::fprintf(stderr, "train_bench: %s\n", wrong.c_str());
    return 1;
  }
  double slowest = 0;
  for (const Result& result : results) slowest = std::max(slowest, result.seconds);
  std::printf(
      "{\"mode\": \"%s\", \"workers\": %u, \"steps\": %ju, \"steps_per_s\": %.2f, "
      "\"first_loss\": %.4f, \"last_loss\": %.4f}\n",
      flags.mode.c_str(), flags.workers, std::uintmax_t{flags.steps},
      static_cast<double>(flags.steps) / slowest, results[0].first_loss, results[0].last_loss);
  return 0;
}

std::optional<Flags> parse(int argc, char** argv)
{
  Flags flags;
  for (int i = 1; i < argc; ++i)
  {
    const std::string name = argv[i];
    if (name == "--plain-update")
    {
      flags.plain_update = true;
      continue;
    }
    if (++i == argc) return std::nullopt;
    const std::string value = argv[i];
    const bool good = name == "--mode"      ? (flags.mode = value) == "runtime" || value == "bare"
                      : name == "--workers" ? absl::SimpleAtoi(value, &flags.workers)
                      : name == "--steps"   ? absl::SimpleAtoi(value, &flags.steps)
                      : name == "--number"  ? absl::SimpleAtoi(value, &flags.number)
                      : name == "--results" ? !(flags.results = value).empty()
                                            : false;
    if (!good) return std::nullopt;
  }
  if (flags.workers == 0 || flags.steps < 10) return std::nullopt;
  return flags;
}

}  // namespace
}  // namespace spillway

int main(int argc, char** argv)
try
{
  const auto flags = spillway::parse(argc, argv);
  if (!flags)
  {
    std::fprintf(stderr,
                 "usage: train_bench --mode runtime|bare [--workers N] [--steps K, at least 10] "
                 "[--plain-update]\n");
    return 2;
  }
  if (flags->results.empty()) return spillway::drive(*flags);
  return flags->mode == "bare" ? spillway::bare_worker(*flags) : spillway::runtime_worker(*flags);
}
catch (const spillway::Error& error)
{
  std::fprintf(stderr, "train_bench: %s\n", error.what());
  return 1;
}
