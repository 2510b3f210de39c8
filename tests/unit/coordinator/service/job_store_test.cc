// SPDX-License-Identifier: Apache-2.0
// What a runner does when its store fails, and what its successor finds.
#include "runner_fixture.h"
#include "spillway/base/fault_point.h"

namespace spillway::coordinator {
namespace {

using ::testing::HasSubstr;
using namespace std::chrono_literals;

class JobStoreTest : public RunnerTest
{
 protected:
  // A member of epoch 1, and a second process that has joined nothing yet.
  void begin()
  {
    open();
    node_ = InProcessNode::connect(*runner_, node_hello(2), clock_);
    a_ = std::make_unique<RecordingWorker>(*node_, clock_, 101);
    b_ = std::make_unique<RecordingWorker>(*node_, clock_, 102);
    ASSERT_TRUE(a_->enter().ok());
    ASSERT_TRUE(b_->enter().ok());
    for (RecordingWorker* worker : {a_.get(), b_.get()})
    {
      const auto epoch = worker->wait_for<EpochAnnouncement>();
      ASSERT_TRUE(epoch);
      worker->install(*epoch);
    }
    settle();
  }
  void TearDown() override
  {
    a_.reset();
    b_.reset();
    node_.reset();
  }
  void kill_b()
  {
    node_->session().report_exited(102, {.exit_code = 0, .signal = 9, .last_words = ""});
  }

  std::unique_ptr<InProcessNode> node_;
  std::unique_ptr<RecordingWorker> a_;
  std::unique_ptr<RecordingWorker> b_;
};

class JobStoreFaultTest : public JobStoreTest, public ::testing::WithParamInterface<MemoryFaults>
{
};

TEST_P(JobStoreFaultTest, NothingIsAnnouncedBeforeItIsDurableAndTrainingGoesOn)
{
  begin();
  const std::size_t told = a_->messages();
  set_faults(*disk_, GetParam());
  kill_b();
  JobReport report = settle();
  EXPECT_THAT(report.alarm, HasSubstr("does not take the record"));
  for (int retry = 0; retry < 20; ++retry)
  {
    clock_.advance(500ms);
    node_->session().send_heartbeat(clock_.now());
    ASSERT_TRUE(a_->wait_until([&] { return a_->acknowledged() == clock_.now(); }));
    settle();
  }
  EXPECT_EQ(a_->messages(), told);
  EXPECT_EQ(a_->downs(), 0);
  EXPECT_EQ(runner_->report()->alarm.empty(), false);

  set_faults(*disk_, {});
  report = after(2s);
  EXPECT_EQ(report.alarm, "");
  const auto abort = a_->wait_for<Abort>();
  ASSERT_TRUE(abort);
  EXPECT_EQ(abort->name.job_epoch, Number(2));
  a_->promise(Number(2));
  ASSERT_TRUE(a_->wait_for<EpochAnnouncement>());
}

INSTANTIATE_TEST_SUITE_P(All, JobStoreFaultTest,
                         ::testing::Values(MemoryFaults{true, false, false},
                                           MemoryFaults{false, true, false},
                                           MemoryFaults{false, false, true}),
                         [](const auto& param) {
                           return param.param.full          ? "Full"
                                  : param.param.unavailable ? "Unavailable"
                                                            : "Unacknowledged";
                         });

TEST_F(JobStoreTest, AFullStoreThatStillKnowsItsLeaderKeepsTrainingGoing)
{
  begin();
  set_faults(*disk_, {.full = true, .unavailable = false, .unacknowledged = false});
  kill_b();
  settle();
  for (int second = 0; second < 120; second += 2)
  {
    clock_.advance(2s);
    node_->session().send_heartbeat(clock_.now());
    ASSERT_TRUE(a_->wait_until([&] { return a_->acknowledged() == clock_.now(); }));
  }
}

TEST_F(JobStoreTest, HeartbeatsAreNotAcknowledgedByWhoMayNotLeadAnyMore)
{
  begin();
  // The store has not answered for longer than the part of the lease in which nobody else can have
  // declared these members dead.
  set_faults(*disk_, {.full = false, .unavailable = true, .unacknowledged = false});
  kill_b();
  settle();
  for (int second = 0; second < 31; ++second)
  {
    clock_.advance(1s);
    node_->session().send_heartbeat(clock_.now());
    settle();
  }
  const MonotonicTime last = clock_.now();
  EXPECT_LT(a_->acknowledged(), last);
  set_faults(*disk_, {});
  after(2s);
  node_->session().send_heartbeat(clock_.now());
  EXPECT_TRUE(a_->wait_until([&] { return a_->acknowledged() == clock_.now(); }));
}

TEST_F(JobStoreTest, ADeposedLeaderClosesEveryStreamAndSaysSoOnce)
{
  begin();
  const std::size_t told = a_->messages();
  auto other = open_memory_store(disk_);
  ASSERT_TRUE(other->begin_term().ok());
  kill_b();
  ASSERT_TRUE(a_->wait_until([&] { return a_->downs() == 1; }));
  EXPECT_EQ(a_->why().code(), absl::StatusCode::kUnavailable);
  EXPECT_EQ(a_->messages(), told);
  EXPECT_EQ(runner_->report().status().code(), absl::StatusCode::kUnavailable);
  RecordingAgent late(*runner_);
  EXPECT_FALSE(late.say(node_hello(1)));
  EXPECT_TRUE(late.wait_for_close());
  runner_.reset();
  EXPECT_EQ(deposed_, 1);
}

TEST_F(JobStoreTest, ADeposedLeaderNoticesWithinTheWindowOfItsAcknowledgements)
{
  begin();
  auto other = open_memory_store(disk_);
  ASSERT_TRUE(other->begin_term().ok());
  clock_.advance(31s);
  node_->session().send_heartbeat(clock_.now());
  ASSERT_TRUE(a_->wait_until([&] { return a_->downs() == 1; }));
  EXPECT_LT(a_->acknowledged(), clock_.now());
}

TEST_F(JobStoreTest, ADamagedRecordIsRefusedWithWhatToDo)
{
  begin();
  a_.reset();
  b_.reset();
  node_.reset();
  runner_.reset();
  const auto bytes = store_->load("mnist");
  ASSERT_TRUE(bytes.ok() && *bytes);
  const Term term = *store_->begin_term();
  for (std::size_t at = 0; at < (*bytes)->size(); at += 7)
  {
    std::string damaged = **bytes;
    damaged[at] = static_cast<char>(damaged[at] ^ 0x20);
    ASSERT_TRUE(store_->write(term, "mnist", damaged).ok());
    const auto runner = JobRunner::open("mnist", {}, {store_.get(), term, &clock_, {}});
    ASSERT_EQ(runner.status().code(), absl::StatusCode::kDataLoss) << "byte " << at;
    EXPECT_THAT(std::string(runner.status().message()), HasSubstr("spillway adopt"));
  }
  ASSERT_TRUE(store_->write(term, "mnist", (*bytes)->substr(0, 20)).ok());
  EXPECT_EQ(JobRunner::open("mnist", {}, {store_.get(), term, &clock_, {}}).status().code(),
            absl::StatusCode::kDataLoss);
}

TEST_F(JobStoreTest, FaultPointsAreListed)
{
  const std::vector<std::string> names = fault_point_names();
  for (const char* name : {"coordinator.write", "coordinator.written", "coordinator.announced"})
    EXPECT_THAT(names, ::testing::Contains(name));
}

}  // namespace
}  // namespace spillway::coordinator
