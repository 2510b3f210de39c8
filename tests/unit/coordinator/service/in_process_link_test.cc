// SPDX-License-Identifier: Apache-2.0
#include "spillway/coordinator/in_process_link.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "manual_clock.h"
#include "recording_worker.h"

namespace spillway::coordinator {
namespace {

using ::testing::HasSubstr;

class InProcess : public ::testing::Test
{
 protected:
  void open()
  {
    store_ = open_memory_store(disk_);
    term_ = *store_->begin_term();
    auto runner = JobRunner::open("mnist", {}, {store_.get(), term_, &clock_, {}});
    ASSERT_TRUE(runner.ok()) << runner.status();
    runner_ = *std::move(runner);
  }
  ManualClock clock_;
  std::shared_ptr<MemoryDisk> disk_ = make_memory_disk();
  std::unique_ptr<Store> store_;
  Term term_;
  std::unique_ptr<JobRunner> runner_;
};

TEST_F(InProcess, WorkersMeetLoseOneAndFormTheNextEpoch)
{
  open();
  auto node = InProcessNode::connect(*runner_, node_hello(2), clock_);
  RecordingWorker a(*node, clock_, 101);
  RecordingWorker b(*node, clock_, 102);
  ASSERT_TRUE(a.enter().ok());
  ASSERT_TRUE(b.enter().ok());
  EXPECT_EQ(a.id(), WorkerId(1));
  EXPECT_EQ(b.id(), WorkerId(2));
  const auto first_a = a.wait_for<EpochAnnouncement>();
  const auto first_b = b.wait_for<EpochAnnouncement>();
  ASSERT_TRUE(first_a && first_b);
  EXPECT_EQ(first_a->name.job_epoch, Number(1));
  EXPECT_EQ(first_a->members.added.size(), 2U);
  a.install(*first_a);
  b.install(*first_b);

  node->session().report_exited(102, {.exit_code = 0, .signal = 9, .last_words = ""});
  const auto abort = a.wait_for<Abort>();
  ASSERT_TRUE(abort);
  EXPECT_EQ(abort->name.job_epoch, Number(2));
  a.promise(abort->name.job_epoch);
  const auto second = a.wait_for<EpochAnnouncement>();
  ASSERT_TRUE(second);
  EXPECT_EQ(second->name.job_epoch, Number(2));
  EXPECT_EQ(second->members.removed, std::vector<WorkerId>{WorkerId(2)});
}

TEST_F(InProcess, ARestartedRunnerIsNoticedAsALinkStateOnly)
{
  open();
  auto node = InProcessNode::connect(*runner_, node_hello(1), clock_);
  RecordingWorker a(*node, clock_, 101);
  ASSERT_TRUE(a.enter().ok());
  const auto first = a.wait_for<EpochAnnouncement>();
  ASSERT_TRUE(first);
  a.install(*first);
  ASSERT_TRUE(a.wait_until([&] { return a.ups() == 1; }));
  const std::size_t told = a.messages();

  runner_.reset();
  ASSERT_TRUE(a.wait_until([&] { return a.downs() == 1; }));
  open();
  node->reconnect(*runner_);
  ASSERT_TRUE(a.wait_until([&] { return a.ups() == 2; }));
  const auto report = runner_->report();
  ASSERT_TRUE(report.ok()) << report.status();
  EXPECT_EQ(report->epoch, Number(1));
  ASSERT_EQ(report->members.size(), 1U);
  EXPECT_TRUE(report->members[0].connected);
  EXPECT_EQ(report->members[0].installed, Number(1));
  EXPECT_EQ(a.messages(), told);
}

TEST_F(InProcess, HeartbeatsAreAcknowledgedToWorkersWithTheirSendingTime)
{
  open();
  auto node = InProcessNode::connect(*runner_, node_hello(1), clock_);
  RecordingWorker a(*node, clock_, 101);
  ASSERT_TRUE(a.enter().ok());
  const MonotonicTime sent_at = clock_.now();
  node->session().send_heartbeat(sent_at);
  ASSERT_TRUE(a.wait_until([&] { return a.acknowledged() == sent_at; }));
  EXPECT_EQ(node->session().last_acknowledged(), sent_at);
}

TEST_F(InProcess, ALinkOfAnotherModelIsRefusedWithTheFirstDifference)
{
  open();
  auto node = InProcessNode::connect(*runner_, node_hello(2), clock_);
  RecordingWorker a(*node, clock_, 101);
  ASSERT_TRUE(a.enter().ok());
  RecordingWorker b(*node, clock_, 102);
  b.hello.spec.tensors[0].shape = {128, 784};
  const auto refused = b.enter();
  EXPECT_EQ(refused.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(refused.message()), HasSubstr("fc.weight float32 [128,784] here"));
}

TEST_F(InProcess, RegisteringWithoutACoordinatorEndsAtTheDeadline)
{
  open();
  set_faults(*disk_, {.full = false, .unavailable = true, .unacknowledged = false});
  auto node = InProcessNode::connect(*runner_, node_hello(1), clock_);
  auto link = node->make_link();
  link->start({});
  const auto late = link->register_worker(worker_hello(101), clock_.now());
  EXPECT_EQ(late.status().code(), absl::StatusCode::kUnavailable) << late.status();
}

}  // namespace
}  // namespace spillway::coordinator
