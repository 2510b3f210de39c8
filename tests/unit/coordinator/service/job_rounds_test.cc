// SPDX-License-Identifier: Apache-2.0
// Rounds of programs with a rendezvous of their own, and of late nodes.
#include "runner_fixture.h"

namespace spillway::coordinator {
namespace {

using namespace std::chrono_literals;

class JobRoundsTest : public RunnerTest
{
 protected:
  NodeHello hello(std::uint64_t session, std::uint32_t least, std::uint32_t most)
  {
    NodeHello out = node_hello(2);
    out.session = session;
    out.address = "10.0.0." + std::to_string(session);
    out.options.nodes_min = least;
    out.options.nodes_max = most;
    out.options.workers_max = 2 * most;
    return out;
  }
  static std::vector<std::uint64_t> nodes_of(const std::optional<Rendezvous>& round)
  {
    std::vector<std::uint64_t> out;
    if (round)
      for (const auto& node : round->nodes) out.push_back(node.node.value());
    return out;
  }
  using Ids = std::vector<std::uint64_t>;
  // All nodes are heard.
  JobReport beat(std::initializer_list<RecordingAgent*> agents, Duration span)
  {
    clock_.advance(span);
    for (RecordingAgent* agent : agents) agent->say(Heartbeat{1});
    return settle();
  }
};

TEST_F(JobRoundsTest, TheFirstRoundBeginsWhenAllAreThere)
{
  open();
  RecordingAgent a(*runner_);
  RecordingAgent b(*runner_);
  ASSERT_TRUE(a.enter(hello(1, 2, 2)));
  settle();
  EXPECT_EQ(a.count<Rendezvous>(), 0U);
  ASSERT_TRUE(b.enter(hello(2, 2, 2)));
  const auto round = a.wait_for<Rendezvous>();
  EXPECT_EQ(nodes_of(round), (Ids{1, 2}));
  EXPECT_EQ(round->round, 1U);
  EXPECT_EQ(round->nodes[1].address, "10.0.0.2");
  EXPECT_EQ(b.wait_for<Rendezvous>(), round);
}

TEST_F(JobRoundsTest, AboveTheMinimumThereIsALastCall)
{
  open();
  RecordingAgent a(*runner_);
  ASSERT_TRUE(a.enter(hello(1, 1, 3)));
  beat({&a}, 999ms);
  EXPECT_EQ(a.count<Rendezvous>(), 0U);
  beat({&a}, 1ms);
  EXPECT_EQ(nodes_of(a.wait_for<Rendezvous>()), (Ids{1}));
}

TEST_F(JobRoundsTest, AFailedRoundStartsAllAnewOnce)
{
  open();
  RecordingAgent a(*runner_);
  RecordingAgent b(*runner_);
  ASSERT_TRUE(a.enter(hello(1, 2, 2)));
  ASSERT_TRUE(b.enter(hello(2, 2, 2)));
  ASSERT_TRUE(a.wait_for<Rendezvous>());
  ASSERT_TRUE(b.wait_for<Rendezvous>());
  a.say(RestartWanted{1, "local rank 0 exited with code 1"});
  const auto again = b.wait_for<Rendezvous>();
  ASSERT_TRUE(again);
  EXPECT_EQ(again->round, 2U);
  EXPECT_EQ(nodes_of(again), (Ids{1, 2}));
  // The other one saw the same failure a little later: that is answered already.
  b.say(RestartWanted{1, "lost its peer"});
  EXPECT_EQ(b.wait_for<Rendezvous>(), again);
  EXPECT_EQ(a.wait_for<Rendezvous>(), again);
  settle();
  EXPECT_EQ(a.count<Rendezvous>(), 0U);
}

TEST_F(JobRoundsTest, ARoundGoesOnWithoutALostNodeIfEnoughAreLeft)
{
  open();
  RecordingAgent a(*runner_);
  RecordingAgent b(*runner_);
  ASSERT_TRUE(a.enter(hello(1, 1, 2)));
  ASSERT_TRUE(b.enter(hello(2, 1, 2)));
  ASSERT_TRUE(a.wait_for<Rendezvous>());
  b.hang_up();
  a.say(RestartWanted{1, "lost its peer"});
  settle();
  EXPECT_EQ(a.count<Rendezvous>(), 0U);  // it may come back within the timeout
  beat({&a}, 1500ms);
  EXPECT_EQ(a.count<Rendezvous>(), 0U);
  beat({&a}, 1500ms);
  const auto round = a.wait_for<Rendezvous>();
  ASSERT_TRUE(round);
  EXPECT_EQ(nodes_of(round), (Ids{1}));
}

TEST_F(JobRoundsTest, AFailureAfterAnotherNodeHasEndedWellEndsTheJobAtOnce)
{
  open();
  RecordingAgent a(*runner_);
  RecordingAgent b(*runner_);
  ASSERT_TRUE(a.enter(hello(1, 2, 2)));
  ASSERT_TRUE(b.enter(hello(2, 2, 2)));
  ASSERT_TRUE(b.wait_for<Rendezvous>());
  a.say(NodeFarewell{.fatal = false, .reason = "the job is done", .exit = {}});
  b.say(RestartWanted{1, "local rank 0 exited with code 3"});
  const auto over = b.wait_for<JobOver>();
  ASSERT_TRUE(over);
  EXPECT_EQ(over->reason, EndReason::kStopped);
}

TEST_F(JobRoundsTest, WhoWaitedWhileTheProgramRanIsToldThatItIsDone)
{
  open();
  RecordingAgent a(*runner_);
  RecordingAgent b(*runner_);
  RecordingAgent c(*runner_);
  ASSERT_TRUE(a.enter(hello(1, 2, 3)));
  ASSERT_TRUE(b.enter(hello(2, 2, 3)));
  beat({&a, &b}, 1s);
  ASSERT_TRUE(b.wait_for<Rendezvous>());
  ASSERT_TRUE(c.enter(hello(3, 2, 3)));
  a.say(NodeFarewell{.fatal = false, .reason = "the job is done", .exit = {}});
  beat({&b, &c}, 1s);
  EXPECT_EQ(c.count<JobOver>(), 0U);
  b.say(NodeFarewell{.fatal = false, .reason = "the job is done", .exit = {}});
  const auto over = c.wait_for<JobOver>();
  ASSERT_TRUE(over);
  EXPECT_EQ(over->reason, EndReason::kFinished);
  // Later comers run it anew.
  RecordingAgent d(*runner_);
  RecordingAgent e(*runner_);
  c.say(NodeFarewell{.fatal = false, .reason = "over", .exit = {}});
  ASSERT_TRUE(d.enter(hello(4, 2, 3)));
  ASSERT_TRUE(e.enter(hello(5, 2, 3)));
  beat({&d, &e}, 1s);
  EXPECT_EQ(nodes_of(e.wait_for<Rendezvous>()), (Ids{4, 5}));
}

TEST_F(JobRoundsTest, ARoundThatCannotBeginEndsTheJob)
{
  open();
  RecordingAgent a(*runner_);
  RecordingAgent b(*runner_);
  ASSERT_TRUE(a.enter(hello(1, 2, 2)));
  ASSERT_TRUE(b.enter(hello(2, 2, 2)));
  ASSERT_TRUE(a.wait_for<Rendezvous>());
  b.hang_up();
  a.say(RestartWanted{1, "lost its peer"});
  settle();
  for (int second = 0; second < 600; second += 2) beat({&a}, 2s);
  EXPECT_TRUE(a.wait_for<JobOver>());
}

TEST_F(JobRoundsTest, ALateNodeRestartsAPlainProgramAndAFullJobMakesItWait)
{
  open();
  RecordingAgent a(*runner_);
  ASSERT_TRUE(a.enter(hello(1, 1, 2)));
  beat({&a}, 1s);
  ASSERT_TRUE(a.wait_for<Rendezvous>());
  RecordingAgent b(*runner_);
  ASSERT_TRUE(b.enter(hello(2, 1, 2)));
  for (int second = 0; second < 9; ++second) beat({&a, &b}, 1s);
  EXPECT_EQ(b.count<Rendezvous>(), 0U);  // it may yet turn out to use the API
  beat({&a, &b}, 1s);
  EXPECT_EQ(nodes_of(b.wait_for<Rendezvous>()), (Ids{1, 2}));
  EXPECT_EQ(nodes_of(a.wait_for<Rendezvous>()), (Ids{1, 2}));
  RecordingAgent c(*runner_);
  ASSERT_TRUE(c.enter(hello(3, 1, 2)));
  for (int second = 0; second < 20; ++second) beat({&a, &b, &c}, 1s);
  EXPECT_EQ(c.count<Rendezvous>(), 0U);
  b.say(NodeFarewell{.fatal = false,
                     .reason = "stopped by signal 15",
                     .exit = {.exit_code = 143, .signal = 0, .last_words = ""}});
  EXPECT_EQ(nodes_of(c.wait_for<Rendezvous>()), (Ids{1, 3}));
}

TEST_F(JobRoundsTest, NobodyIsTakenInOnceTheProgramHasEndedWellSomewhere)
{
  open();
  RecordingAgent a(*runner_);
  RecordingAgent b(*runner_);
  RecordingAgent c(*runner_);
  ASSERT_TRUE(a.enter(hello(1, 1, 3)));
  ASSERT_TRUE(b.enter(hello(2, 1, 3)));
  beat({&a, &b}, 1s);
  ASSERT_TRUE(b.wait_for<Rendezvous>());
  ASSERT_TRUE(c.enter(hello(3, 1, 3)));
  a.say(NodeFarewell{.fatal = false, .reason = "the job is done", .exit = {}});
  for (int second = 0; second < 20; ++second) beat({&b, &c}, 1s);
  EXPECT_EQ(b.count<Rendezvous>(), 0U);  // it may be about to end well, too
  EXPECT_EQ(c.count<Rendezvous>(), 0U);
  b.say(NodeFarewell{.fatal = false, .reason = "the job is done", .exit = {}});
  ASSERT_TRUE(c.wait_for<JobOver>());
  for (int second = 0; second < 20; ++second) beat({&c}, 1s);
  EXPECT_EQ(c.count<Rendezvous>(), 0U);  // though it takes its time to go
}

TEST_F(JobRoundsTest, WhoComesBackToALaterRoundIsToldOfIt)
{
  open();
  RecordingAgent a(*runner_);
  NodeHello second = hello(2, 1, 2);
  {
    RecordingAgent b(*runner_);
    ASSERT_TRUE(a.enter(hello(1, 1, 2)));
    ASSERT_TRUE(b.enter(second));
    ASSERT_TRUE(a.wait_for<Rendezvous>());
    second.node = b.node();
    b.hang_up();
  }
  a.say(RestartWanted{1, "lost its peer"});
  settle();
  beat({&a}, 3s);
  ASSERT_EQ(nodes_of(a.wait_for<Rendezvous>()), (Ids{1}));
  RecordingAgent back(*runner_);
  ASSERT_TRUE(back.enter(second));
  const auto round = back.wait_for<Rendezvous>();
  ASSERT_TRUE(round);
  EXPECT_EQ(round->round, 2U);
  EXPECT_EQ(nodes_of(round), (Ids{1}));
  // What failed in the round that it was part of is no reason to start the others anew.
  back.say(RestartWanted{1, "lost its peer"});
  EXPECT_EQ(back.wait_for<Rendezvous>(), round);
  for (int second = 0; second < 6; ++second) beat({&a, &back}, 1s);
  EXPECT_EQ(a.count<Rendezvous>(), 0U);
  // It is taken in like any late node.
  for (int second = 0; second < 6; ++second) beat({&a, &back}, 1s);
  EXPECT_EQ(nodes_of(a.wait_for<Rendezvous>()), (Ids{1, 2}));
  EXPECT_EQ(nodes_of(back.wait_for<Rendezvous>()), (Ids{1, 2}));
}

TEST_F(JobRoundsTest, ALateNodeOfAProgramOnTheApiStartsAlone)
{
  open();
  RecordingAgent a(*runner_);
  ASSERT_TRUE(a.enter(hello(1, 1, 2)));
  beat({&a}, 1s);
  ASSERT_TRUE(a.wait_for<Rendezvous>());
  a.say(FromWorker{LinkId(1), worker_hello(101)});
  ASSERT_TRUE(a.wait_for_worker<Welcome>(LinkId(1)));
  RecordingAgent b(*runner_);
  ASSERT_TRUE(b.enter(hello(2, 1, 2)));
  const auto round = b.wait_for<Rendezvous>();
  ASSERT_TRUE(round);
  EXPECT_EQ(nodes_of(round), (Ids{1, 2}));
  settle();
  EXPECT_EQ(a.count<Rendezvous>(), 0U);
}

TEST_F(JobRoundsTest, ARoundIsRememberedOverARestart)
{
  open();
  NodeHello first = hello(1, 1, 1);
  {
    RecordingAgent a(*runner_);
    ASSERT_TRUE(a.enter(first));
    ASSERT_TRUE(a.wait_for<Rendezvous>());
    first.node = a.node();
    runner_.reset();
  }
  open();
  RecordingAgent back(*runner_);
  ASSERT_TRUE(back.enter(first));
  const auto round = back.wait_for<Rendezvous>();
  ASSERT_TRUE(round);
  EXPECT_EQ(round->round, 1U);
}

TEST_F(JobRoundsTest, APlainJobIsNotEndedForLackOfWorkers)
{
  open();
  RecordingAgent a(*runner_);
  ASSERT_TRUE(a.enter(hello(1, 1, 1)));
  for (int minute = 0; minute < 30; ++minute)
  {
    for (int part = 0; part < 30; ++part) beat({&a}, 2s);
  }
  EXPECT_EQ(settle().ended, "");
  EXPECT_FALSE(a.closed());
}

}  // namespace
}  // namespace spillway::coordinator
