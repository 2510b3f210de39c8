// SPDX-License-Identifier: Apache-2.0
// Who a runner lets in, what it bounds, and how a job's end reaches its agents.
#include "runner_fixture.h"

namespace spillway::coordinator {
namespace {

using ::testing::HasSubstr;
using namespace std::chrono_literals;

using JobAdmissionTest = RunnerTest;

constexpr LinkId kLink{1};

NodeHello agent_hello(std::uint64_t session, std::uint32_t nodes = 1)
{
  NodeHello hello = node_hello(2, nodes);
  hello.session = session;
  return hello;
}

absl::Status refusal_of(RecordingAgent& agent, const WorkerHello& hello)
{
  agent.say(FromWorker{kLink, hello});
  const auto refusal = agent.wait_for_worker<Refusal>(kLink);
  return refusal ? refusal->status : absl::OkStatus();
}

// One of two members of a number that this store knows nothing of.
WorkerHello survivor_hello()
{
  WorkerHello hello = worker_hello(101);
  hello.worker = WorkerId(1);
  hello.lineage = hello.status.lineage = Lineage(77);
  hello.status.current = hello.status.installed = hello.status.highest_seen = Number(3);
  hello.status.applied = StateName{Number(3), StepId(9)};
  hello.members.resize(2);
  for (std::uint64_t id : {1, 2}) hello.members[id - 1].worker = WorkerId(id);
  return hello;
}

TEST_F(JobAdmissionTest, WorkersThatDoNotFitAreRefusedWithTheReason)
{
  open();
  RecordingAgent agent(*runner_);
  ASSERT_TRUE(agent.enter(agent_hello(11)));
  agent.say(FromWorker{LinkId(9), worker_hello(100)});
  ASSERT_TRUE(agent.wait_for_worker<Welcome>(LinkId(9)));

  WorkerHello other = worker_hello(101);
  other.job = "cifar";
  EXPECT_EQ(refusal_of(agent, other).code(), absl::StatusCode::kFailedPrecondition);

  WorkerHello newer = worker_hello(101);
  newer.protocol_version = kProtocolVersion + 1;
  EXPECT_EQ(refusal_of(agent, newer).code(), absl::StatusCode::kInvalidArgument);

  WorkerHello model = worker_hello(101);
  model.spec.tensors[1].type = "bfloat16";
  const absl::Status differs = refusal_of(agent, model);
  EXPECT_EQ(differs.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(differs.message()), HasSubstr("fc.bias bfloat16 [256] here"));
  EXPECT_THAT(std::string(differs.message()), HasSubstr("worker 1"));

  WorkerHello machine = worker_hello(101);
  machine.spec.arithmetic_class = "cpu avx512 threads=1";
  EXPECT_THAT(std::string(refusal_of(agent, machine).message()), HasSubstr("avx512"));

  WorkerHello stranger = worker_hello(101);
  stranger.worker = WorkerId(1);
  stranger.lineage = stranger.status.lineage = Lineage(12345);
  EXPECT_EQ(refusal_of(agent, stranger).code(), absl::StatusCode::kFailedPrecondition);
}

// An agent whose number comes from a store that was lost may meet another with the same one.
TEST_F(JobAdmissionTest, ANodeIsNotTakenOverByAnotherAgent)
{
  open();
  RecordingAgent first(*runner_);
  ASSERT_TRUE(first.enter(agent_hello(11, 3)));
  RecordingAgent other(*runner_);
  NodeHello hello = agent_hello(12, 3);
  hello.node = first.node();
  ASSERT_TRUE(other.enter(hello));
  EXPECT_NE(other.node(), first.node());
  EXPECT_FALSE(first.closed());
  // Its answer may be lost.
  RecordingAgent repeated(*runner_);
  ASSERT_TRUE(repeated.enter(hello));
  EXPECT_EQ(repeated.node(), other.node());
  // The same agent on a new stream is the same node; its old stream ends.
  RecordingAgent again(*runner_);
  hello.session = 11;
  hello.node = first.node();
  ASSERT_TRUE(again.enter(hello));
  EXPECT_EQ(again.node(), first.node());
  EXPECT_TRUE(first.wait_for_close());
}

TEST_F(JobAdmissionTest, TheFirstAgentsNodeCountHolds)
{
  open();
  RecordingAgent first(*runner_);
  ASSERT_TRUE(first.enter(agent_hello(11, 2)));
  RecordingAgent other(*runner_);
  other.say(agent_hello(12, 3));
  const auto refusal = other.wait_for<Refusal>();
  ASSERT_TRUE(refusal);
  EXPECT_THAT(std::string(refusal->status.message()), HasSubstr("--nnodes"));
}

// A coordinator that was started because nobody listened hears from an agent of a job that has one.
TEST_F(JobAdmissionTest, AStandInStepsAsideForWhoHasTheRecord)
{
  std::atomic<int> told{0};
  options_.on_unknown_life = [&](const absl::Status& why) {
    told += absl::IsUnavailable(why) ? 1 : 100;
  };
  open();
  RecordingAgent own(*runner_);
  ASSERT_TRUE(own.enter(agent_hello(11, 3)));
  NodeHello hello = agent_hello(12, 3);
  hello.node = NodeId(1);
  hello.lineage = Lineage(77);
  RecordingAgent returning(*runner_);
  returning.say(hello);
  // Nobody is refused for good: both will find the other coordinator.
  for (RecordingAgent* agent : {&own, &returning})
  {
    const auto why = agent->wait_for_close();
    ASSERT_TRUE(why);
    EXPECT_EQ(why->code(), absl::StatusCode::kUnavailable);
    EXPECT_THAT(std::string(why->message()), HasSubstr("lineage 77"));
    EXPECT_EQ(agent->count<Refusal>(), 0U);
  }
  RecordingAgent late(*runner_);
  late.say(agent_hello(13, 3));
  EXPECT_TRUE(late.wait_for_close());
  after(10s);
  EXPECT_EQ(told, 1);
}

// With a record of its own, or once it has begun, a stranger changes nothing.
TEST_F(JobAdmissionTest, AStandInThatHasBegunStays)
{
  std::atomic<int> told{0};
  options_.on_unknown_life = [&](const absl::Status&) { ++told; };
  open();
  RecordingAgent own(*runner_);
  ASSERT_TRUE(own.enter(agent_hello(11)));
  ASSERT_TRUE(own.wait_for<Rendezvous>());
  NodeHello hello = agent_hello(12);
  hello.node = NodeId(1);
  hello.lineage = Lineage(77);
  RecordingAgent stranger(*runner_);
  stranger.say(hello);
  settle();
  EXPECT_EQ(told, 0);
  EXPECT_FALSE(own.closed());
}

TEST_F(JobAdmissionTest, AStreamThatDoesNotIntroduceItselfIsClosed)
{
  open();
  RecordingAgent agent(*runner_);
  agent.say(RestartWanted{1, "why not"});
  const auto why = agent.wait_for_close();
  ASSERT_TRUE(why);
  EXPECT_EQ(why->code(), absl::StatusCode::kFailedPrecondition);
}

TEST_F(JobAdmissionTest, ASlowStreamIsClosedAndTheOthersGoOn)
{
  open();
  RecordingAgent slow(*runner_);
  ASSERT_TRUE(slow.enter(agent_hello(11, 2)));
  slow.stop_reading();
  slow.say(Heartbeat{1});
  const auto why = slow.wait_for_close();
  ASSERT_TRUE(why);
  EXPECT_EQ(why->code(), absl::StatusCode::kResourceExhausted);
  EXPECT_FALSE(slow.say(Heartbeat{2}));
  RecordingAgent other(*runner_);
  ASSERT_TRUE(other.enter(agent_hello(12, 2)));
  other.say(Heartbeat{1});
  EXPECT_TRUE(other.wait_for<HeartbeatAck>());
}

TEST_F(JobAdmissionTest, WhatIsHeldForAFailingStoreIsBounded)
{
  options_.held_max = 16;
  open();
  RecordingAgent agent(*runner_);
  ASSERT_TRUE(agent.enter(agent_hello(11)));
  settle();
  set_faults(*disk_, {.full = true, .unavailable = false, .unacknowledged = false});
  agent.say(FromWorker{kLink, worker_hello(101)});
  int taken = 0;
  while (taken < 100 && agent.say(FromWorker{kLink, Telemetry{}})) ++taken;
  EXPECT_LE(taken, 16);
  EXPECT_GE(taken, 8);
  // Heartbeats have room of their own.
  ASSERT_TRUE(agent.say(Heartbeat{7}));
  const auto ack = agent.wait_for<HeartbeatAck>();
  ASSERT_TRUE(ack);
  EXPECT_EQ(ack->sequence, 7U);
}

TEST_F(JobAdmissionTest, AConnectionThatEndsWhileItsGreetingWaitsForTheStore)
{
  open();
  RecordingAgent agent(*runner_);
  ASSERT_TRUE(agent.enter(agent_hello(11)));
  settle();
  set_faults(*disk_, {.full = true, .unavailable = false, .unacknowledged = false});
  agent.say(FromWorker{LinkId(2), worker_hello(102)});
  settle();  // its greeting has been heard, its Welcome waits
  agent.say(FromWorker{kLink, worker_hello(101)});
  agent.say(WorkerFate{WorkerFate::Kind::kDisconnected, kLink, {}, "its link is closed", {}});
  set_faults(*disk_, {});
  for (int second = 0; second < 3; ++second) after(1s);
  ASSERT_TRUE(agent.wait_for_worker<Welcome>(LinkId(2)));
  int connected = 0;
  for (const auto& member : settle().members) connected += member.connected ? 1 : 0;
  EXPECT_EQ(connected, 1);
}

// Two connections of one process overlap while its lineage waits to be adopted: the newer counts.
TEST_F(JobAdmissionTest, AHeldGreetingOutlivesTheConnectionBeforeIt)
{
  open();
  RecordingAgent agent(*runner_);
  ASSERT_TRUE(agent.enter(agent_hello(11)));
  const WorkerHello hello = survivor_hello();
  agent.say(FromWorker{kLink, hello});
  agent.say(FromWorker{LinkId(2), hello});
  agent.say(WorkerFate{WorkerFate::Kind::kDisconnected, kLink, hello.worker, "closed", {}});
  settle();
  ASSERT_TRUE(runner_->adopt(Lineage(77)).ok());
  const auto welcome = agent.wait_for_worker<Welcome>(LinkId(2));
  ASSERT_TRUE(welcome);
  EXPECT_EQ(welcome->worker, hello.worker);
}

// The older one may also end after the newer one was answered.
TEST_F(JobAdmissionTest, ALateEndOfTheConnectionBeforeIsNotTheWorkers)
{
  open();
  RecordingAgent agent(*runner_);
  ASSERT_TRUE(agent.enter(agent_hello(11)));
  const WorkerHello hello = survivor_hello();
  agent.say(FromWorker{kLink, hello});
  agent.say(FromWorker{LinkId(2), hello});
  settle();
  ASSERT_TRUE(runner_->adopt(Lineage(77)).ok());
  agent.say(WorkerFate{WorkerFate::Kind::kDisconnected, kLink, hello.worker, "closed", {}});
  auto worker = member(settle(), hello.worker);
  ASSERT_TRUE(worker);
  EXPECT_TRUE(worker->connected);
  agent.say(WorkerFate{WorkerFate::Kind::kDisconnected, LinkId(2), hello.worker, "closed", {}});
  worker = member(settle(), hello.worker);
  ASSERT_TRUE(worker);
  EXPECT_FALSE(worker->connected);
}

// The ids of the lineage that waits are not known yet, so nobody else may be given one.
TEST_F(JobAdmissionTest, NewWorkersWaitUntilAnUnknownLineageIsAdopted)
{
  open();
  RecordingAgent agent(*runner_);
  ASSERT_TRUE(agent.enter(agent_hello(11)));
  agent.say(FromWorker{kLink, survivor_hello()});
  agent.say(FromWorker{LinkId(2), worker_hello(102)});
  settle();
  EXPECT_EQ(agent.count<ToWorkers>(), 0U);
  ASSERT_TRUE(runner_->adopt(Lineage(77)).ok());
  const auto old = agent.wait_for_worker<Welcome>(kLink);
  ASSERT_TRUE(old);
  EXPECT_EQ(old->worker, WorkerId(1));
  const auto fresh = agent.wait_for_worker<Welcome>(LinkId(2));
  ASSERT_TRUE(fresh);
  EXPECT_GT(fresh->worker, WorkerId(1000));
  EXPECT_EQ(fresh->lineage, Lineage(77));
}

TEST_F(JobAdmissionTest, NewWorkersGoOnWhenAnUnknownLineageIsGone)
{
  open();
  RecordingAgent agent(*runner_);
  ASSERT_TRUE(agent.enter(agent_hello(11)));
  agent.say(FromWorker{kLink, survivor_hello()});
  agent.say(FromWorker{LinkId(2), worker_hello(102)});
  agent.say(FromWorker{LinkId(3), worker_hello(103)});
  agent.say(WorkerFate{WorkerFate::Kind::kDisconnected, LinkId(3), {}, "closed", {}});
  agent.say(WorkerFate{WorkerFate::Kind::kExited, kLink, WorkerId(1), "killed", {}});
  const auto fresh = agent.wait_for_worker<Welcome>(LinkId(2));
  ASSERT_TRUE(fresh);
  EXPECT_EQ(fresh->worker, WorkerId(1));
}

TEST_F(JobAdmissionTest, AnAgentThatGivesUpEndsTheJobForAllWithItsExit)
{
  open();
  RecordingAgent a(*runner_);
  RecordingAgent b(*runner_);
  ASSERT_TRUE(a.enter(agent_hello(11, 2)));
  ASSERT_TRUE(b.enter(agent_hello(12, 2)));
  a.say(
      NodeFarewell{true, "no restarts left", {.exit_code = 3, .signal = 0, .last_words = "boom"}});
  const auto over = b.wait_for<JobOver>();
  ASSERT_TRUE(over);
  EXPECT_EQ(over->reason, EndReason::kStopped);
  EXPECT_EQ(over->exit.exit_code, 3);
  EXPECT_EQ(over->exit.last_words, "boom");
  EXPECT_THAT(over->detail, HasSubstr("no restarts left"));
  // It is remembered over a restart, and a node of the job hears it again.
  open();
  RecordingAgent back(*runner_);
  ASSERT_TRUE(back.enter(agent_hello(12, 2)));
  const auto again = back.wait_for<JobOver>();
  ASSERT_TRUE(again);
  EXPECT_EQ(again->exit.exit_code, 3);
  // Who comes only now has had no part in it, and must not take its end for the end of its own run.
  RecordingAgent late(*runner_);
  late.say(agent_hello(13, 2));
  const auto refusal = late.wait_for<Refusal>();
  ASSERT_TRUE(refusal);
  EXPECT_THAT(std::string(refusal->status.message()),
              AllOf(HasSubstr("no restarts left"), HasSubstr("another --rdzv-id")));
}

}  // namespace
}  // namespace spillway::coordinator
