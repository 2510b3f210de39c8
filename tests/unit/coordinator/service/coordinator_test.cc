// SPDX-License-Identifier: Apache-2.0
#include "spillway/coordinator/coordinator.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>

#include "manual_clock.h"
#include "recording_agent.h"

namespace spillway::coordinator {
namespace {

using ::testing::HasSubstr;

class CoordinatorTest : public ::testing::Test
{
 protected:
  void open(CoordinatorOptions options = {})
  {
    coordinator_.reset();
    auto opened = Coordinator::open(open_memory_store(disk_), options, clock_,
                                    [this](const absl::Status&) { ++deposed_; });
    ASSERT_TRUE(opened.ok()) << opened.status();
    coordinator_ = *std::move(opened);
  }
  NodeHello hello(const std::string& job)
  {
    NodeHello out = node_hello(1);
    out.job = job;
    out.session = 7;
    return out;
  }
  ManualClock clock_;
  std::shared_ptr<MemoryDisk> disk_ = make_memory_disk();
  std::atomic<int> deposed_{0};
  std::unique_ptr<Coordinator> coordinator_;
};

TEST_F(CoordinatorTest, ServesManyJobsUnderOneTermAndFindsThemAgain)
{
  open();
  EXPECT_EQ(coordinator_->term(), Term(1));
  EXPECT_EQ(coordinator_->existing_job("").status().code(), absl::StatusCode::kFailedPrecondition);
  for (const char* name : {"mnist", "cifar"})
  {
    const auto runner = coordinator_->job(name);
    ASSERT_TRUE(runner.ok());
    EXPECT_EQ(*coordinator_->job(name), *runner);
    RecordingAgent agent(**runner);
    ASSERT_TRUE(agent.enter(hello(name)));
    EXPECT_EQ(agent.welcome().term, 1U);
  }
  open();
  EXPECT_EQ(coordinator_->term(), Term(2));
  const auto jobs = coordinator_->list_jobs();
  ASSERT_EQ(jobs.size(), 2U);
  EXPECT_EQ(jobs[0].job, "cifar");
  EXPECT_EQ(jobs[1].job, "mnist");
  EXPECT_TRUE(coordinator_->existing_job("mnist").ok());
  const auto none = coordinator_->existing_job("imagenet");
  EXPECT_EQ(none.status().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(none.status().message()), HasSubstr("cifar, mnist"));
  EXPECT_FALSE(coordinator_->existing_job("").ok());  // which one?
  EXPECT_THAT(to_json(jobs), HasSubstr(R"({"jobs":[{"job":"cifar","lineage":")"));
}

TEST_F(CoordinatorTest, AnEmptyNameMeansTheOnlyJob)
{
  open();
  ASSERT_TRUE(coordinator_->job("mnist").ok());
  EXPECT_EQ(*coordinator_->existing_job(""), *coordinator_->job("mnist"));
}

TEST_F(CoordinatorTest, HasABoundOfJobs)
{
  CoordinatorOptions options;
  options.jobs_max = 1;
  open(options);
  ASSERT_TRUE(coordinator_->job("mnist").ok());
  EXPECT_EQ(coordinator_->job("cifar").status().code(), absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(coordinator_->job("").status().code(), absl::StatusCode::kInvalidArgument);
}

TEST_F(CoordinatorTest, ADamagedJobDoesNotKeepTheOthersAway)
{
  open();
  for (const char* name : {"mnist", "cifar"})
  {
    RecordingAgent agent(**coordinator_->job(name));
    ASSERT_TRUE(agent.enter(hello(name)));
  }
  coordinator_.reset();
  corrupt(*disk_, "mnist");
  open();
  EXPECT_EQ(coordinator_->job("mnist").status().code(), absl::StatusCode::kDataLoss);
  EXPECT_EQ(coordinator_->existing_job("mnist").status().code(), absl::StatusCode::kDataLoss);
  EXPECT_TRUE(coordinator_->job("cifar").ok());
  EXPECT_EQ(coordinator_->list_jobs().size(), 2U);
}

TEST_F(CoordinatorTest, IsDeposedOnceForAllItsJobs)
{
  open();
  std::vector<std::unique_ptr<RecordingAgent>> agents;
  for (const char* name : {"mnist", "cifar"})
  {
    agents.push_back(std::make_unique<RecordingAgent>(**coordinator_->job(name)));
    ASSERT_TRUE(agents.back()->enter(hello(name)));
  }
  auto other = Coordinator::open(open_memory_store(disk_), {}, clock_);
  ASSERT_TRUE(other.ok());
  for (auto& agent : agents) agent->say(NodeFarewell{});
  for (auto& agent : agents) EXPECT_TRUE(agent->wait_for_close());
  coordinator_.reset();
  EXPECT_EQ(deposed_, 1);
}

}  // namespace
}  // namespace spillway::coordinator
