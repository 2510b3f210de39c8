// SPDX-License-Identifier: Apache-2.0
// Jobs of 1 to 8 members that nothing happens to.
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "test_job.h"

namespace spillway::testing {
namespace {

class SteadyJob : public ::testing::TestWithParam<std::uint32_t>
{
};

TEST_P(SteadyJob, UsesEverySampleOnceAndEndsEqual)
{
  const std::uint32_t members = GetParam();
  TestJob job({.workers_min = members, .workers_max = members});
  std::vector<TestWorker*> workers;
  for (std::uint32_t i = 0; i < members; ++i) workers.push_back(&job.start_worker());
  job.join();
  for (TestWorker* worker : workers)
  {
    EXPECT_TRUE(worker->status().ok()) << worker->status();
    EXPECT_EQ(worker->end(), engine::EndReason::kLastStep);
    job.expect_trained(*worker, StepId(40));
    EXPECT_EQ(worker->replica().weights(), workers[0]->replica().weights());
    EXPECT_EQ(worker->stats().steps_aborted, 0u);
    ASSERT_FALSE(worker->totals().empty());
    EXPECT_EQ(worker->totals().back().samples, 24u);
    EXPECT_EQ(worker->totals().back().loss_sum, 48.0);
  }
  EXPECT_EQ(job.check_log().steps_applied, 40u);
}

INSTANTIATE_TEST_SUITE_P(Members, SteadyJob, ::testing::Values(1, 2, 3, 4, 5, 8));

}  // namespace
}  // namespace spillway::testing
