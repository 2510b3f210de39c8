// SPDX-License-Identifier: Apache-2.0
// An agent's memory of its workers, against a coordinator and workers made of function calls.
#include "spillway/coordinator/node_session.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "manual_clock.h"
#include "recording_worker.h"

namespace spillway::coordinator {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

constexpr MonotonicTime kStart{std::chrono::hours(1)};

class NodeSessionTest : public ::testing::Test
{
 protected:
  NodeSessionTest()
  {
    NodeCallbacks callbacks;
    callbacks.on_connection = [this](bool up, const absl::Status& why) {
      note(absl::StrCat(up ? "up" : "down", why.ok() ? "" : ": ", why.message()));
    };
    callbacks.on_rendezvous = [this](const Rendezvous& round) {
      note(absl::StrCat("round ", round.round));
    };
    callbacks.on_worker_registered = [this](LinkId link, const WorkerHello& hello) {
      note(absl::StrCat("registered ", link.value(), " pid ", hello.pid));
    };
    callbacks.on_worker_welcomed = [this](LinkId link, const Welcome& welcome) {
      note(absl::StrCat("welcomed ", link.value(), " as ", welcome.worker.value()));
    };
    callbacks.on_worker_refused = [this](LinkId link, const absl::Status&) {
      note(absl::StrCat("refused ", link.value()));
    };
    callbacks.on_worker_first_applied = [this](LinkId link, WorkerId) {
      note(absl::StrCat("applied ", link.value()));
    };
    callbacks.on_worker_released = [this](LinkId link, WorkerId, EndReason) {
      note(absl::StrCat("released ", link.value()));
    };
    callbacks.on_worker_disconnected = [this](LinkId link, WorkerId) {
      note(absl::StrCat("gone ", link.value()));
    };
    callbacks.on_evict = [this](LinkId, WorkerId, std::int64_t pid, const std::string&) {
      note(absl::StrCat("evict ", pid));
    };
    callbacks.on_job_over = [this](const JobOver&) { note("over"); };
    NodeHello hello = node_hello(2);
    hello.session = 11;
    session_ = std::make_unique<NodeSession>(hello, callbacks);
  }

  void note(std::string text)
  {
    const std::lock_guard lock(mutex_);
    heard_.push_back(std::move(text));
    changed_.notify_all();
  }
  // Waits until at least so much is heard and the last of it is this.
  std::vector<std::string> heard_until(const std::string& last, std::size_t least = 1)
  {
    std::unique_lock lock(mutex_);
    changed_.wait_for(lock, kSoon, [&] { return heard_.size() >= least && heard_.back() == last; });
    return std::exchange(heard_, {});
  }
  void uplink()
  {
    sent_.clear();
    session_->uplink_opened([this](const NodeMessage& message) {
      sent_.push_back(message);
      return true;
    });
  }
  void connect()
  {
    uplink();
    session_->on_order(NodeWelcome{.node = NodeId(3), .lineage = Lineage(77)}, kStart);
  }
  LinkId open_worker(std::int64_t pid)
  {
    const LinkId link =
        session_->open_link([this](const WorkerOrder& order) { told_.push_back(order); });
    session_->from_worker(link, worker_hello(pid));
    return link;
  }
  void welcome(LinkId link, WorkerId worker)
  {
    session_->on_order(ToWorkers{{link}, Welcome{worker, NodeId(3), SiteId(1), Lineage(77)}},
                       kStart);
  }
  template <typename Message>
  std::vector<Message> sent() const
  {
    std::vector<Message> out;
    for (const NodeMessage& message : sent_)
      if (const auto* found = std::get_if<Message>(&message)) out.push_back(*found);
    return out;
  }
  template <typename Order>
  std::vector<Order> told() const
  {
    std::vector<Order> out;
    for (const WorkerOrder& order : told_)
      if (const auto* found = std::get_if<Order>(&order)) out.push_back(*found);
    return out;
  }

  std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<std::string> heard_;
  std::vector<NodeMessage> sent_;
  std::vector<WorkerOrder> told_;
  std::unique_ptr<NodeSession> session_;
};

TEST_F(NodeSessionTest, IntroducesTheNodeAndThenItsWorkers)
{
  const LinkId early = open_worker(101);
  uplink();
  EXPECT_EQ(sent<NodeHello>().size(), 1U);
  EXPECT_TRUE(sent<FromWorker>().empty());
  session_->on_order(NodeWelcome{.node = NodeId(3), .lineage = Lineage(77)}, kStart);
  EXPECT_EQ(session_->node(), NodeId(3));
  EXPECT_EQ(session_->lineage(), Lineage(77));
  ASSERT_EQ(sent<FromWorker>().size(), 1U);
  EXPECT_EQ(sent<FromWorker>()[0].link, early);
  EXPECT_EQ(std::get<WorkerHello>(sent<FromWorker>()[0].message).node, NodeId(3));
  welcome(early, WorkerId(1));
  EXPECT_EQ(told<Welcome>().size(), 1U);
  EXPECT_THAT(heard_until("welcomed 1 as 1"),
              ElementsAre("registered 1 pid 101", "up", "welcomed 1 as 1"));
}

TEST_F(NodeSessionTest, ACoordinatorThatComesBackHearsEverything)
{
  connect();
  const LinkId lives = open_worker(101);
  const LinkId stuck = open_worker(102);
  const LinkId dead = open_worker(103);
  welcome(lives, WorkerId(1));
  welcome(stuck, WorkerId(2));
  welcome(dead, WorkerId(3));
  MemberStatus status;
  status.lineage = Lineage(77);
  status.promised = status.installed = Number(4);
  session_->from_worker(lives, StatusUpdate{status, true, std::vector<MemberInfo>(1)});
  status.promised = Number(5);
  session_->from_worker(lives, StatusUpdate{status, false, {}});
  session_->report_silent(102, "stopped");
  session_->report_exited(103, {.exit_code = 1, .signal = 0, .last_words = "boom"});
  session_->close_link(dead);
  session_->request_restart(0, "why not");
  session_->uplink_closed(absl::UnavailableError("gone"));
  told_.clear();

  connect();
  EXPECT_EQ(sent<NodeHello>()[0].node, NodeId(3));
  EXPECT_EQ(sent<NodeHello>()[0].lineage, Lineage(77));
  const auto greetings = sent<FromWorker>();
  ASSERT_EQ(greetings.size(), 1U);  // not who will be killed
  const auto& hello = std::get<WorkerHello>(greetings[0].message);
  EXPECT_EQ(hello.worker, WorkerId(1));
  EXPECT_EQ(hello.lineage, Lineage(77));
  EXPECT_EQ(hello.status, status);
  ASSERT_EQ(hello.members.size(), 1U);
  const auto fates = sent<WorkerFate>();
  ASSERT_EQ(fates.size(), 2U);
  EXPECT_EQ(fates[0].kind, WorkerFate::Kind::kSilent);
  EXPECT_EQ(fates[0].worker, WorkerId(2));
  EXPECT_EQ(fates[1].kind, WorkerFate::Kind::kExited);
  EXPECT_EQ(fates[1].worker, WorkerId(3));
  EXPECT_EQ(fates[1].exit.last_words, "boom");
  EXPECT_EQ(sent<RestartWanted>().size(), 1U);
  // Its workers notice a state of the link, and nothing else.
  welcome(lives, WorkerId(1));
  welcome(stuck, WorkerId(2));
  EXPECT_EQ(told_.size(), 2U);
  EXPECT_EQ(told<LinkState>().size(), 2U);
}

TEST_F(NodeSessionTest, AnAcknowledgementNamesWhenItsHeartbeatWasSent)
{
  connect();
  const LinkId link = open_worker(101);
  welcome(link, WorkerId(1));
  const auto second = [](int n) { return kStart + std::chrono::seconds(n); };
  session_->send_heartbeat(second(1));
  session_->send_heartbeat(second(2));
  session_->send_heartbeat(second(3));
  EXPECT_EQ(session_->last_acknowledged(), std::nullopt);
  session_->on_order(HeartbeatAck{2}, second(4));
  EXPECT_EQ(session_->last_acknowledged(), second(2));
  session_->on_order(HeartbeatAck{1}, second(4));   // late
  session_->on_order(HeartbeatAck{99}, second(4));  // never sent
  EXPECT_EQ(session_->last_acknowledged(), second(2));
  ASSERT_EQ(told<Acknowledged>().size(), 1U);
  EXPECT_EQ(told<Acknowledged>()[0].sent_at, second(2));
}

TEST_F(NodeSessionTest, AnAcknowledgementOfAnEarlierUplinkDoesNotCount)
{
  connect();
  session_->send_heartbeat(kStart);
  session_->uplink_closed(absl::UnavailableError("gone"));
  connect();
  session_->on_order(HeartbeatAck{1}, kStart);
  EXPECT_EQ(session_->last_acknowledged(), std::nullopt);
}

TEST_F(NodeSessionTest, WhoIsToBeKilledGetsNoLeaseAndIsReportedExitedOnce)
{
  connect();
  const LinkId link = open_worker(101);
  welcome(link, WorkerId(1));
  session_->on_order(EvictOrder{link, WorkerId(1), "hangs"}, kStart);
  heard_until("evict 101");
  session_->send_heartbeat(kStart);
  session_->on_order(HeartbeatAck{1}, kStart);
  EXPECT_TRUE(told<Acknowledged>().empty());
  const ExitReport exit{.exit_code = 0, .signal = 9, .last_words = ""};
  session_->report_exited(101, exit);
  session_->report_exited(101, exit);
  session_->report_exited(555, exit);  // never registered
  session_->close_link(link);
  const auto fates = sent<WorkerFate>();
  ASSERT_EQ(fates.size(), 1U);
  EXPECT_THAT(fates[0].reason, HasSubstr("signal 9"));
}

TEST_F(NodeSessionTest, WhoIsToBeKilledIsNotHeardOverANewLinkEither)
{
  connect();
  const LinkId link = open_worker(101);
  welcome(link, WorkerId(1));
  session_->report_silent(101, "stopped");
  session_->close_link(link);
  sent_.clear();
  const LinkId again = open_worker(101);
  session_->from_worker(again, StatusUpdate{});
  EXPECT_TRUE(sent<FromWorker>().empty());
  session_->report_exited(101, {.exit_code = 0, .signal = 9, .last_words = ""});
  EXPECT_EQ(sent<WorkerFate>().size(), 1U);
  // A process that gets its pid is another one.
  open_worker(101);
  EXPECT_EQ(sent<FromWorker>().size(), 1U);
}

TEST_F(NodeSessionTest, APidThatIsUsedAgainMeansItsNewestWorker)
{
  connect();
  const LinkId first = open_worker(101);
  session_->report_exited(101, {.exit_code = 1, .signal = 0, .last_words = ""});
  session_->close_link(first);
  const LinkId second = open_worker(101);
  session_->report_exited(101, {.exit_code = 2, .signal = 0, .last_words = ""});
  const auto fates = sent<WorkerFate>();
  ASSERT_EQ(fates.size(), 2U);
  EXPECT_EQ(fates[1].link, second);
}

TEST_F(NodeSessionTest, AllAreAskedToLeaveAndWhoComesLaterToo)
{
  connect();
  open_worker(101);
  session_->request_leave(101, false);
  ASSERT_EQ(told<LeaveRequest>().size(), 1U);
  EXPECT_FALSE(told<LeaveRequest>()[0].urgent);
  session_->request_leave_all(true);
  EXPECT_EQ(told<LeaveRequest>().size(), 2U);
  open_worker(102);
  ASSERT_EQ(told<LeaveRequest>().size(), 3U);
  EXPECT_TRUE(told<LeaveRequest>()[2].urgent);
}

TEST_F(NodeSessionTest, FollowsAWorkerFromItsFirstStepToItsRelease)
{
  connect();
  const LinkId link = open_worker(101);
  welcome(link, WorkerId(1));
  MemberStatus status;
  status.lineage = Lineage(77);
  status.installed = status.current = Number(1);
  status.applied = StateName{Number(1), StepId(0)};
  session_->from_worker(link, StatusUpdate{status, false, {}});
  EXPECT_EQ(session_->workers()[0].first_applied, std::nullopt);
  status.first_word = Number(1);
  session_->from_worker(link, StatusUpdate{status, false, {}});
  session_->from_worker(link, StatusUpdate{status, false, {}});
  session_->from_worker(link, Telemetry{.step = StepId(4), .doing = "training"});
  session_->on_order(ToWorkers{{link}, ControlMessage(Release{})}, kStart);
  session_->close_link(link);
  EXPECT_THAT(heard_until("gone 1"), ElementsAre("up", "registered 1 pid 101", "welcomed 1 as 1",
                                                 "applied 1", "released 1", "gone 1"));
  const WorkerView view = session_->workers()[0];
  EXPECT_TRUE(view.released);
  EXPECT_FALSE(view.connected);
  EXPECT_EQ(view.telemetry.doing, "training");
  EXPECT_EQ(sent<WorkerFate>()[0].kind, WorkerFate::Kind::kDisconnected);
}

TEST_F(NodeSessionTest, ARefusedNodeIsFinishedAndSoAreItsWorkers)
{
  connect();
  const LinkId link = open_worker(101);
  welcome(link, WorkerId(1));
  session_->on_order(Refusal{absl::FailedPreconditionError("another job")}, kStart);
  EXPECT_TRUE(session_->finished());
  ASSERT_EQ(told<LinkState>().size(), 2U);
  EXPECT_EQ(told<LinkState>()[1].why.code(), absl::StatusCode::kFailedPrecondition);
  heard_until("down: another job");
}

TEST_F(NodeSessionTest, AfterTheJobLaterWorkersAreRefused)
{
  connect();
  const LinkId unanswered = open_worker(101);
  session_->on_order(JobOver{EndReason::kFinished, "all steps are done", {}}, kStart);
  EXPECT_TRUE(session_->finished());
  ASSERT_EQ(told<Refusal>().size(), 1U);
  open_worker(102);
  ASSERT_EQ(told<Refusal>().size(), 2U);
  EXPECT_EQ(told<Refusal>()[1].status.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(told<Refusal>()[1].status.message()), HasSubstr("all steps are done"));
  session_->close_link(unanswered);
  EXPECT_EQ(session_->workers().size(), 1U);
}

TEST_F(NodeSessionTest, ARoundIsHeardOnceAndAnswersAWish)
{
  connect();
  session_->on_order(Rendezvous{.round = 1, .nodes = {}}, kStart);
  session_->request_restart(1, "a worker failed");
  session_->on_order(Rendezvous{.round = 2, .nodes = {}}, kStart);
  session_->on_order(Rendezvous{.round = 2, .nodes = {}}, kStart);
  session_->request_restart(1, "too late");
  EXPECT_EQ(sent<RestartWanted>().size(), 1U);
  connect();
  EXPECT_TRUE(sent<RestartWanted>().empty());
  session_->farewell({});
  EXPECT_EQ(sent<NodeFarewell>().size(), 1U);
  EXPECT_TRUE(session_->finished());
  EXPECT_THAT(heard_until("up", 4), ElementsAre("up", "round 1", "round 2", "up"));
}

TEST_F(NodeSessionTest, AnUplinkThatTakesNothingIsNotUsedAgain)
{
  int offered = 0;
  session_->uplink_opened([&](const NodeMessage&) {
    ++offered;
    return false;
  });
  session_->send_heartbeat(kStart);
  open_worker(101);
  EXPECT_EQ(offered, 1);
}

}  // namespace
}  // namespace spillway::coordinator
