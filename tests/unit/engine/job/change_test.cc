// SPDX-License-Identifier: Apache-2.0
// Joining, leaving, ending, holding: what happens without a fault, and so without an aborted step.
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "test_job.h"

namespace spillway::testing {
namespace {

// Ends the job some steps after `members` train together.
TestWorker::Hooks stops_with(std::uint32_t members, int steps = 10)
{
  TestWorker::Hooks hooks;
  auto seen = std::make_shared<int>(0);
  hooks.on_outcome = [=](engine::Engine& engine, const engine::StepPlan& plan,
                         const engine::StepOutcome&) {
    if (plan.members == members && ++*seen >= steps) engine.request_stop();
    return true;
  };
  return hooks;
}

void expect_stopped(TestJob& job, std::initializer_list<TestWorker*> workers)
{
  TestWorker& first = **workers.begin();
  const StepId last(static_cast<std::uint64_t>(first.replica().steps()));
  for (TestWorker* worker : workers)
  {
    EXPECT_TRUE(worker->status().ok()) << worker->status();
    EXPECT_EQ(worker->end(), engine::EndReason::kStopped);
    EXPECT_EQ(worker->stats().steps_aborted, 0u);
    job.expect_trained(*worker, last);
    EXPECT_EQ(worker->replica().weights(), first.replica().weights());
  }
  EXPECT_EQ(job.check_log().steps_applied, last.value());
}

TEST(Change, AWorkerJoinsOneThatTrains)
{
  TestJob job({.workers_min = 1, .workers_max = 2, .ballast = 3 << 20, .last_step = StepId()});
  TestWorker& a = job.start_worker(stops_with(2));
  job.await_step(a, StepId(5));
  TestWorker& b = job.start_worker();
  job.join();
  expect_stopped(job, {&a, &b});
  EXPECT_EQ(b.stats().joins, 1u);
  EXPECT_GT(b.stats().state_bytes_copied, 12u << 20);
  EXPECT_GT(a.stats().state_bytes_served, 12u << 20);
}

TEST(Change, TwoJoinTwoOneAfterTheOther)
{
  TestJob job({.workers_min = 2, .workers_max = 4, .last_step = StepId()});
  TestWorker& a = job.start_worker(stops_with(4));
  TestWorker& b = job.start_worker();
  job.await_step(a, StepId(5));
  TestWorker& c = job.start_worker();
  TestWorker& d = job.start_worker();
  job.join();
  expect_stopped(job, {&a, &b, &c, &d});
}

TEST(Change, AMemberLeavesWithoutAnAbortedStep)
{
  TestJob job({.workers_min = 1,
               .workers_max = 3,
               .last_call = std::chrono::seconds(20),
               .last_step = StepId()});
  TestWorker& a = job.start_worker(stops_with(2));
  TestWorker& b = job.start_worker();
  TestWorker::Hooks leaves;
  leaves.on_begin = [](engine::Engine& engine, const engine::StepPlan& plan) {
    if (plan.name.step == StepId(10)) engine.request_leave();
    return true;
  };
  TestWorker& c = job.start_worker(leaves);
  job.join();
  EXPECT_TRUE(c.status().ok()) << c.status();
  EXPECT_EQ(c.end(), engine::EndReason::kLeft);
  EXPECT_EQ(c.stats().steps_aborted, 0u);
  expect_stopped(job, {&a, &b});
}

// With several members before, the communication thread is there and must leave the step alone.
TEST(Change, TheLastOneGoesOnAlone)
{
  TestJob job({.workers_min = 1,
               .workers_max = 2,
               .last_call = std::chrono::seconds(20),
               .last_step = StepId()});
  TestWorker& a = job.start_worker(stops_with(1, 300));
  TestWorker& b = job.start_worker();
  job.await_step(b, StepId(5));
  job.session().request_leave(b.pid(), false);
  job.join();
  expect_stopped(job, {&a});
}

TEST(Change, TheAgentAsksAWorkerToLeave)
{
  TestJob job({.workers_min = 1,
               .workers_max = 2,
               .last_call = std::chrono::seconds(20),
               .last_step = StepId()});
  TestWorker& a = job.start_worker(stops_with(1));
  TestWorker& b = job.start_worker();
  job.await_step(b, StepId(5));
  job.session().request_leave(b.pid(), false);
  job.join();
  EXPECT_EQ(b.end(), engine::EndReason::kLeft) << b.status();
  expect_stopped(job, {&a});
}

TEST(Change, AVetoConsumesTheSamplesAndAppliesNothing)
{
  TestJob job({.workers_min = 2, .workers_max = 2, .last_step = StepId(4)});
  TestWorker::Hooks vetoes;
  vetoes.on_finish = [](engine::Engine&, const engine::StepPlan& plan,
                        engine::StepContribution& contribution) {
    contribution.veto = plan.name.step <= StepId(4);
    return true;
  };
  TestWorker& a = job.start_worker(vetoes);
  job.await_registered(a);  // holds the first base, so that it contributes to the first step
  TestWorker& b = job.start_worker();
  job.join();
  for (TestWorker* worker : {&a, &b})
  {
    EXPECT_TRUE(worker->status().ok()) << worker->status();
    EXPECT_EQ(worker->stats().steps_applied + worker->stats().steps_skipped, 4u);
    EXPECT_THAT(worker->replica().uses(), ::testing::Each(0));
  }
  EXPECT_EQ(job.check_log().steps_applied, 4u);
}

TEST(Change, TheBitmapOfUsedParametersIsTheUnion)
{
  TestJob job({.workers_min = 2, .workers_max = 2, .last_step = StepId(4)});
  static constexpr std::uint64_t kBits[2][2] = {{1, 0}, {4, 8}};
  std::vector<TestWorker*> workers;
  for (std::size_t i = 0; i < 2; ++i)
  {
    TestWorker::Hooks hooks;
    hooks.on_finish = [i](engine::Engine&, const engine::StepPlan&,
                          engine::StepContribution& contribution) {
      contribution.used_parameters = kBits[i];
      return true;
    };
    workers.push_back(&job.start_worker(hooks));
  }
  job.join();
  for (TestWorker* worker : workers)
    EXPECT_THAT(worker->totals().back().used_parameters, ::testing::ElementsAre(5, 8));
}

TEST(Change, MembersHoldWhenTheLeaseRunsOutAndGoOn)
{
  TestJob job({.workers_min = 2,
               .workers_max = 2,
               .lease = std::chrono::milliseconds(1500),
               .last_step = StepId()});
  TestWorker& a = job.start_worker();
  TestWorker& b = job.start_worker();
  job.await_step(a, StepId(20));
  job.stop_coordinator();
  const StepId held = job.await_standstill(a);
  job.start_coordinator();
  job.await_step(a, StepId(held.value() + 20));
  job.engine(a).request_stop();
  job.join();
  expect_stopped(job, {&a, &b});
  EXPECT_EQ(a.stats().epochs, 1u);  // nothing was formed anew
}

TEST(Change, WhoIsDoneDoesNotWaitForACoordinatorThatIsGone)
{
  TestJob job({.workers_min = 2, .workers_max = 2, .lease = std::chrono::milliseconds(1500)});
  TestWorker::Hooks ends;
  std::atomic<bool> reached{false}, gone{false};
  ends.on_begin = [&](engine::Engine&, const engine::StepPlan& plan) {
    if (plan.name.step != StepId(40)) return true;
    reached = true;
    reached.notify_all();
    gone.wait(false);
    return true;
  };
  std::thread leaves([&] {
    reached.wait(false);
    job.stop_coordinator();
    gone = true;
    gone.notify_all();
  });
  TestWorker& a = job.start_worker(ends);
  TestWorker& b = job.start_worker();
  leaves.join();
  job.join();
  for (TestWorker* worker : {&a, &b})
  {
    EXPECT_TRUE(worker->status().ok()) << worker->status();
    EXPECT_EQ(worker->end(), engine::EndReason::kLastStep);
    job.expect_trained(*worker, StepId(40));
  }
}

TEST(Change, AMemberWithAnEmptySliceStillTakesPart)
{
  TestJob job({.workers_min = 3, .workers_max = 3, .global_batch = 2, .last_step = StepId(20)});
  std::vector<TestWorker*> workers;
  for (int i = 0; i < 3; ++i) workers.push_back(&job.start_worker());
  job.join();
  for (TestWorker* worker : workers)
  {
    EXPECT_TRUE(worker->status().ok()) << worker->status();
    job.expect_trained(*worker, StepId(20));
  }
  EXPECT_EQ(job.check_log().steps_applied, 20u);
}

}  // namespace
}  // namespace spillway::testing
