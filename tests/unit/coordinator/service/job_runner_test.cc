// SPDX-License-Identifier: Apache-2.0
#include "spillway/coordinator/job_runner.h"

#include "runner_fixture.h"

namespace spillway::coordinator {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using namespace std::chrono_literals;

class JobRunnerTest : public RunnerTest
{
 protected:
  // Two workers on one node, both stepping in epoch 1.
  void train()
  {
    open();
    NodeCallbacks callbacks;
    callbacks.on_evict = [this](LinkId, WorkerId, std::int64_t pid, const std::string&) {
      const std::lock_guard lock(mutex_);
      evicted_pid_ = pid;
      changed_.notify_all();
    };
    node_ = InProcessNode::connect(*runner_, node_hello(2), clock_, callbacks);
    a_ = std::make_unique<RecordingWorker>(*node_, clock_, 101);
    b_ = std::make_unique<RecordingWorker>(*node_, clock_, 102);
    for (RecordingWorker* worker : {a_.get(), b_.get()}) ASSERT_TRUE(worker->enter().ok());
    for (RecordingWorker* worker : {a_.get(), b_.get()})
    {
      const auto epoch = worker->wait_for<EpochAnnouncement>();
      ASSERT_TRUE(epoch);
      worker->install(*epoch);
      worker->status.first_word = Number(1);
      worker->status.applied = StateName{Number(1), StepId(1)};
      worker->say();
    }
    settle();
  }
  void TearDown() override
  {
    a_.reset();
    b_.reset();
    node_.reset();
  }
  std::int64_t evicted_pid()
  {
    std::unique_lock lock(mutex_);
    changed_.wait_for(lock, kSoon, [&] { return evicted_pid_ != 0; });
    return evicted_pid_;
  }

  std::mutex mutex_;
  std::condition_variable changed_;
  std::int64_t evicted_pid_ = 0;
  std::unique_ptr<InProcessNode> node_;
  std::unique_ptr<RecordingWorker> a_;
  std::unique_ptr<RecordingWorker> b_;
};

TEST_F(JobRunnerTest, AMemberThatHangsIsEvictedAndReplacedAfterItIsReaped)
{
  train();
  // P13: one has handed in and says so each second, the other does not.
  for (int second = 0; second <= 30; ++second)
  {
    const ProgressReport waits{.name = EpochName::one_site(settle().lineage, Number(1)),
                               .step = StepId(2)};
    a_->link().send(waits);
    node_->session().send_heartbeat(clock_.now());
    after(1s);
  }
  EXPECT_EQ(evicted_pid(), 102);
  const auto abort = a_->wait_for<Abort>();
  ASSERT_TRUE(abort);
  a_->promise(abort->name.job_epoch);
  // P12: reported silent, then killed and reaped, and only then exited. A holder lives, so its
  // death is not waited for.
  const auto epoch = a_->wait_for<EpochAnnouncement>();
  ASSERT_TRUE(epoch);
  EXPECT_EQ(epoch->members.removed, std::vector<WorkerId>{b_->id()});
  const auto silent = member(settle(), b_->id());
  ASSERT_TRUE(silent);
  EXPECT_TRUE(silent->silent);
  EXPECT_FALSE(silent->dead);
  node_->session().report_exited(102, {.exit_code = 0, .signal = 9, .last_words = ""});
  EXPECT_FALSE(member(settle(), b_->id()));
}

// P12: continued before its agent kills it, it may say what it likes: no member again, it costs the
// others one abort and not a second by its death.
TEST_F(JobRunnerTest, AWorkerThatItsAgentFindsStoppedIsHeardNoMore)
{
  train();
  node_->session().report_silent(102, "stopped by a signal");
  const auto abort = a_->wait_for<Abort>();
  ASSERT_TRUE(abort);
  EXPECT_TRUE(member(settle(), b_->id())->silent);
  b_->promise(Number(2));
  b_->link().send(Telemetry{});
  b_->link().send(ProbeResult{.name = {}, .peer = a_->id(), .reachable = true});
  EXPECT_TRUE(member(settle(), b_->id())->silent);
  a_->promise(abort->name.job_epoch);
  const auto epoch = a_->wait_for<EpochAnnouncement>();
  ASSERT_TRUE(epoch);
  EXPECT_EQ(epoch->members.removed, std::vector<WorkerId>{b_->id()});
  node_->session().report_exited(102, {.exit_code = 0, .signal = 9, .last_words = ""});
  const JobReport report = settle();
  EXPECT_FALSE(member(report, b_->id()));
  EXPECT_EQ(report.epoch, Number(2));
  EXPECT_FALSE(report.open_abort);
}

// The same if the coordinator wants it killed: its words may be under way when it decides.
TEST_F(JobRunnerTest, AnEvictedWorkerIsHeardNoMore)
{
  train();
  for (int second = 0; second <= 30; ++second)
  {
    a_->link().send(ProgressReport{.name = EpochName::one_site(settle().lineage, Number(1)),
                                   .step = StepId(2)});
    node_->session().send_heartbeat(clock_.now());
    after(1s);
  }
  EXPECT_EQ(evicted_pid(), 102);
  ASSERT_TRUE(b_->wait_for<Abort>());
  b_->promise(Number(2));
  EXPECT_TRUE(member(settle(), b_->id())->silent);
}

TEST_F(JobRunnerTest, AStoppedWorkersLeaseIsNotRenewed)
{
  train();
  node_->session().report_silent(102, "stopped by a signal");
  b_->link().send(Telemetry{});
  settle();
  clock_.advance(1s);
  node_->session().send_heartbeat(clock_.now());
  ASSERT_TRUE(a_->wait_until([&] { return a_->acknowledged() == clock_.now(); }));
  EXPECT_LT(b_->acknowledged(), clock_.now());
}

TEST_F(JobRunnerTest, ALeaverIsReleasedWhenTheOthersGoOnWithoutIt)
{
  train();
  node_->session().request_leave(102, false);
  ASSERT_TRUE(b_->wait_until([&] { return b_->leave_requests() == 1; }));
  b_->status.wants_to_leave = true;
  b_->say();
  const auto pending = a_->wait_for<PendingAnnouncement>();
  ASSERT_TRUE(pending);
  EXPECT_EQ(pending->members.removed, std::vector<WorkerId>{b_->id()});
  a_->status.current = a_->status.installed = a_->status.first_word = Number(2);
  a_->status.switched_from = Number(1);
  a_->say();
  b_->status.left = Number(2);
  b_->status.current = Number();
  b_->say();
  const auto release = b_->wait_for<Release>();
  ASSERT_TRUE(release);
  EXPECT_EQ(release->reason, EndReason::kReleased);
  b_->hang_up();
  for (int second = 0; second < 10; ++second)
  {
    node_->session().send_heartbeat(clock_.now());
    EXPECT_EQ(after(1s).open_abort, Number());
  }
}

TEST_F(JobRunnerTest, ASilentAgentIsCutOffAndMayComeBack)
{
  train();
  const JobReport before = after(2900ms);
  ASSERT_EQ(before.nodes.size(), 1U);
  EXPECT_TRUE(before.nodes[0].connected);
  const JobReport silent = after(100ms);
  EXPECT_FALSE(silent.nodes[0].connected);
  EXPECT_EQ(silent.open_abort, Number(2));
  EXPECT_TRUE(member(silent, a_->id())->silent);
  ASSERT_TRUE(a_->wait_until([&] { return a_->downs() == 1; }));
  node_->reconnect(*runner_);
  const auto abort = a_->wait_for<Abort>();
  ASSERT_TRUE(abort);
  EXPECT_FALSE(member(settle(), a_->id())->silent);
}

TEST_F(JobRunnerTest, WhoIsSilentForTheLeaseIsKnownDead)
{
  train();
  b_->hang_up();  // its agent says no more about it
  settle();
  const auto beat = [&](int seconds) {
    for (int second = 0; second < seconds; second += 2)
    {
      node_->session().send_heartbeat(clock_.now());
      after(2s);
    }
  };
  beat(4);
  EXPECT_TRUE(member(settle(), b_->id())->silent);
  beat(650);
  EXPECT_FALSE(member(settle(), b_->id())->dead);
  beat(8);  // the members' lease is ten minutes, the coordinator's a tenth longer
  const auto gone = member(settle(), b_->id());
  EXPECT_TRUE(!gone || gone->dead);
}

TEST_F(JobRunnerTest, TheEndIsToldToAllAndASurvivedDeathIsNotItsReason)
{
  train();
  RecordingAgent watcher(*runner_);
  NodeHello hello = node_hello(1);
  hello.session = 99;
  ASSERT_TRUE(watcher.enter(hello));
  node_->session().report_exited(102, {.exit_code = 0, .signal = 9, .last_words = ""});
  const auto abort = a_->wait_for<Abort>();
  ASSERT_TRUE(abort);
  a_->promise(abort->name.job_epoch);
  const auto epoch = a_->wait_for<EpochAnnouncement>();
  ASSERT_TRUE(epoch);
  a_->install(*epoch);
  a_->status.done = epoch->name.job_epoch;
  a_->say();
  const auto release = a_->wait_for<Release>();
  ASSERT_TRUE(release);
  EXPECT_EQ(release->reason, EndReason::kFinished);
  const auto over = watcher.wait_for<JobOver>();
  ASSERT_TRUE(over);
  EXPECT_EQ(over->reason, EndReason::kFinished);
  EXPECT_EQ(over->exit, ExitReport());
  settle();
  EXPECT_TRUE(node_->session().finished());
}

TEST_F(JobRunnerTest, BothAreAwaitedAgainAfterARestartForTheGraceOnly)
{
  train();
  runner_.reset();
  open();
  EXPECT_EQ(after(4900ms).open_abort, Number());
  EXPECT_EQ(after(100ms).open_abort, Number(2));
}

TEST_F(JobRunnerTest, AnAbandonedWorkerIsDeadAndItsAgentEndsIt)
{
  train();
  EXPECT_EQ(runner_->abandon_worker(WorkerId(77), "").code(), absl::StatusCode::kNotFound);
  ASSERT_TRUE(runner_->abandon_worker(b_->id(), "its rack burns").ok());
  EXPECT_EQ(evicted_pid(), 102);
  ASSERT_TRUE(a_->wait_for<Abort>());
  const JobReport report = settle();
  bool said = false;
  for (const auto& past : report.decisions)
    said = said || past.text.find("its rack burns") != std::string::npos;
  EXPECT_TRUE(said);
}

TEST_F(JobRunnerTest, AnAbandonedNodesWorkersAreDead)
{
  train();
  EXPECT_EQ(runner_->abandon_node(NodeId(9), "").code(), absl::StatusCode::kNotFound);
  ASSERT_TRUE(runner_->abandon_node(node_->session().node(), "gone").ok());
  const JobReport report = settle();
  EXPECT_TRUE(report.nodes.empty());
  ASSERT_EQ(report.members.size(), 2U);
  for (const auto& entry : report.members) EXPECT_TRUE(entry.dead);
  // The agent hears that this is final.
  ASSERT_TRUE(a_->wait_until([&] { return a_->downs() == 1; }));
  EXPECT_EQ(a_->why().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_TRUE(node_->session().finished());
}

TEST_F(JobRunnerTest, AnOperatorEndsTheJobOnce)
{
  train();
  ASSERT_TRUE(runner_->end("enough").ok());
  const auto release = a_->wait_for<Release>();
  ASSERT_TRUE(release);
  EXPECT_EQ(release->reason, EndReason::kStopped);
  EXPECT_THAT(release->detail, HasSubstr("enough"));
  EXPECT_EQ(runner_->end("again").code(), absl::StatusCode::kFailedPrecondition);
  RecordingWorker late(*node_, clock_, 103);
  EXPECT_EQ(late.enter().code(), absl::StatusCode::kFailedPrecondition);
}

TEST_F(JobRunnerTest, TheReportShowsWhoAndWhy)
{
  train();
  a_->link().send(Telemetry{.step = StepId(7),
                            .step_seconds = 0.25,
                            .samples_per_second = 256,
                            .steps_aborted = 0,
                            .doing = "training"});
  const JobReport report = settle();
  EXPECT_EQ(report.job, "mnist");
  EXPECT_EQ(report.term, 1U);
  EXPECT_EQ(report.epoch, Number(1));
  EXPECT_EQ(report.step, StepId(7));
  ASSERT_EQ(report.members.size(), 2U);
  EXPECT_EQ(report.members[1].rank, 1U);
  EXPECT_EQ(report.members[0].telemetry.doing, "training");
  EXPECT_THAT(report.next, HasSubstr("training goes on in 1"));
  EXPECT_THAT(to_json(report), AllOf(HasSubstr(R"("job":"mnist")"), HasSubstr(R"("epoch":1,)"),
                                     HasSubstr(R"("applied":{"number":1,"step":1})"),
                                     HasSubstr(R"("waiting_for":[])")));
  EXPECT_THAT(to_text(report, true),
              AllOf(HasSubstr("epoch 1, step 7"), HasSubstr("256.0  training"),
                    HasSubstr("next: training goes on")));
}

TEST_F(JobRunnerTest, AnUnknownLineageWaitsUntilItIsAdopted)
{
  train();
  // Its store is lost; one of two members comes back.
  disk_ = make_memory_disk();
  const Lineage lineage = a_->status.lineage;
  b_->hang_up();
  runner_.reset();
  open();
  node_->reconnect(*runner_);
  ASSERT_TRUE(a_->wait_until([&] { return a_->ups() == 2; }));
  JobReport report = settle();
  EXPECT_EQ(report.epoch, Number());
  EXPECT_THAT(report.next, HasSubstr("adopt"));
  EXPECT_EQ(runner_->adopt(Lineage(5)).code(), absl::StatusCode::kFailedPrecondition);
  ASSERT_TRUE(runner_->adopt(lineage).ok());
  const auto abort = a_->wait_for<Abort>();
  ASSERT_TRUE(abort);
  EXPECT_GT(abort->name.job_epoch, Number(std::uint64_t{1} << 20));
  EXPECT_EQ(abort->name.lineage, lineage);
  report = settle();
  EXPECT_EQ(report.lineage, lineage);
}

}  // namespace
}  // namespace spillway::coordinator
