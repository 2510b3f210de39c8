// SPDX-License-Identifier: Apache-2.0
// A worker that would not give the bits of those in the job is refused when it starts, with an
// Error that names the first difference.
#include <ATen/Parallel.h>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "in_process_job.h"
#include "toy_model.h"

namespace spillway::testing {
namespace {

using ::testing::ContainsRegex;
using torch::optim::AdamW;
using torch::optim::AdamWOptions;

struct Program
{
  std::shared_ptr<ToyNet> net = make_net();
  AdamW optimizer{net->parameters(), AdamWOptions(0.01)};
  TrainData data = toy_data();
  RunOptions options = toy_options(4);
};

class JobRefusals : public ::testing::Test
{
 protected:
  spillway::Run start(Program& program)
  {
    return job.runtime(++workers).start(TrainState(program.net, program.optimizer), program.data,
                                        program.options);
  }
  void expect_refused(Program& program, const std::string& pattern)
  {
    try
    {
      start(program);
      ADD_FAILURE() << "expected: " << pattern;
    }
    catch (const Error& error)
    {
      EXPECT_EQ(error.code(), absl::StatusCode::kInvalidArgument) << error.what();
      EXPECT_THAT(error.what(), ContainsRegex("does not match worker 1: .*" + pattern));
    }
  }

  InProcessJob job{1};
  std::int64_t workers = 0;
  Program first;
  spillway::Run run = start(first);
};

TEST_F(JobRefusals, NameAnotherTypeOrShape)
{
  Program narrow;
  narrow.net->to(at::kBFloat16);
  expect_refused(narrow, "first.weight BFloat16 .16,8. here, first.weight Float .16,8. there");
  Program wide{.net = std::make_shared<ToyNet>(20)};
  expect_refused(wide, "first.weight Float .20,8. here, first.weight Float .16,8. there");
}

TEST_F(JobRefusals, NameAnotherLayoutOfBuckets)
{
  Program program;
  program.options.first_bucket_bytes = 64;
  expect_refused(program, "bucket 0 of 20 fp32 here, bucket 0 of 232 fp32 there");
}

TEST_F(JobRefusals, NameAnotherArithmeticClass)
{
  const int threads = at::get_num_threads();
  at::set_num_threads(threads + 1);
  Program program;
  expect_refused(program, std::to_string(threads + 1) + " threads.* here, .*" +
                              std::to_string(threads) + " threads.*OMP_NUM_THREADS");
  at::set_num_threads(threads);
}

TEST_F(JobRefusals, NameOtherUpdates)
{
  Program plain;
  plain.options.fused_update = false;
  expect_refused(plain, "optimizer0.steps Long of AdamW lr .* here, .*Long of AdamW fused lr");
  Program clipped;
  clipped.options.clip_norm = 1;
  expect_refused(clipped, "loss_scale clip_norm 1 .* here, loss_scale clip_norm 0 .* there");
  Program scaled;
  scaled.options.loss_scaling = LossScaling{};
  expect_refused(scaled, "growth 2 backoff 0.5 .* here, loss_scale clip_norm 0 .* there");
}

TEST_F(JobRefusals, NameOtherDataAndEnds)
{
  Program seed;
  seed.data.seed = 6;
  expect_refused(seed, "data seed 6 here, data seed 5 there");
  Program parts;
  parts.data.parts[0].name = "some";
  expect_refused(parts, "data part 'some' of 64 samples here, data part 'all' of 64 samples there");
  Program longer;
  longer.options.steps = 5;
  expect_refused(longer, "last step 5 here, last step 4 there");
}

TEST_F(JobRefusals, AreNoHarmToTheJob)
{
  Program program;
  program.options.steps = 5;
  expect_refused(program, "last step 5 here");
  train(run, *first.net);
  EXPECT_EQ(run.stats().steps_applied, 4u);
}

}  // namespace
}  // namespace spillway::testing
