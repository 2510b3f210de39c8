// SPDX-License-Identifier: Apache-2.0
// Links that stand still, and pairs that cannot be linked: nobody waits for ever, nobody is blamed
// for a link, and who was left out for one comes back.
#include <atomic>
#include <condition_variable>
#include <mutex>

#include "gtest/gtest.h"
#include "test_job.h"

namespace spillway::testing {
namespace {

// P13: all have handed in, and a member's vote reaches nobody.
TEST(Links, AStepThatAllHandedInAndThatStandsStillIsRepeatedOverNewLinks)
{
  std::atomic<int> stalls{1};
  LinkFaults faults;
  faults.stalls = [&](WorkerId self, const comm::OpName& call) {
    return self == WorkerId(2) && call.step == StepId(10) && stalls.fetch_sub(1) > 0;
  };
  TestJob job({.workers_min = 3,
               .workers_max = 3,
               .progress_floor = std::chrono::milliseconds(300),
               .links = &faults});
  TestWorker* workers[] = {&job.start_worker(), &job.start_worker(), &job.start_worker()};
  job.join();
  for (TestWorker* worker : workers)
  {
    EXPECT_TRUE(worker->status().ok()) << worker->status();
    EXPECT_EQ(worker->end(), engine::EndReason::kLastStep);
    EXPECT_EQ(worker->stats().steps_aborted, 1u);
    job.expect_trained(*worker, StepId(40));
  }
  const invariants::LogReport report = job.check_log();
  EXPECT_EQ(report.steps_applied, 40u);
  EXPECT_EQ(report.workers, 3u);  // the same processes
  EXPECT_LT(stalls, 1);           // it did stand still
}

// P13, P7: the members wait for a joiner's copy, which takes longer than they wait for a loop.
TEST(Links, ASlowCopyIsNotAHang)
{
  std::mutex mutex;
  std::condition_variable never;
  std::atomic<int> reads{0};
  LinkFaults faults;
  faults.reads = [&] {
    if (reads++ > 0) return;
    std::unique_lock lock(mutex);
    never.wait_for(lock, std::chrono::seconds(4), [] { return false; });
  };
  TestJob job({.workers_min = 1,
               .workers_max = 2,
               .last_step = StepId(),
               .progress_floor = std::chrono::milliseconds(300),
               .links = &faults});
  TestWorker::Hooks stops;
  stops.on_outcome = [](engine::Engine& engine, const engine::StepPlan& plan,
                        const engine::StepOutcome&) {
    if (plan.members == 2) engine.request_stop();
    return true;
  };
  TestWorker& a = job.start_worker(stops);
  job.await_step(a, StepId(5));
  TestWorker& b = job.start_worker();
  job.join();
  EXPECT_TRUE(b.status().ok()) << b.status();
  EXPECT_EQ(b.end(), engine::EndReason::kStopped);
  EXPECT_EQ(b.stats().joins, 1u);
  EXPECT_EQ(a.stats().steps_aborted, 0u);
  EXPECT_GE(reads, 1);
  EXPECT_EQ(job.check_log().steps_applied, static_cast<std::uint64_t>(a.replica().steps()));
}

// P14: the youngest of a pair is left out while the other trains, and comes back when probes get
// through both ways.
TEST(Links, APairThatCannotBeLinkedTrainsWithoutItsYoungestUntilItCan)
{
  std::atomic<bool> cut{true};
  LinkFaults faults;
  faults.cut = [&](WorkerId a, WorkerId b) {
    return cut && std::minmax(a, b) == std::minmax(WorkerId(2), WorkerId(3));
  };
  TestJob job({.workers_min = 1,
               .workers_max = 3,
               .last_call = std::chrono::seconds(20),
               .last_step = StepId(),
               .links = &faults});
  int with_two = 0;
  int with_three = 0;
  TestWorker::Hooks counts;
  counts.on_outcome = [&](engine::Engine& engine, const engine::StepPlan& plan,
                          const engine::StepOutcome&) {
    ++(plan.members == 3 ? with_three : with_two);
    if (with_two == 20) cut = false;
    if (with_three == 20) engine.request_stop();
    return true;
  };
  TestWorker& a = job.start_worker(counts);
  job.await_registered(a);  // ids in this order
  TestWorker& b = job.start_worker();
  job.await_registered(b);
  TestWorker& c = job.start_worker();
  job.join();
  const StepId last(static_cast<std::uint64_t>(a.replica().steps()));
  for (TestWorker* worker : {&a, &b, &c})
  {
    EXPECT_TRUE(worker->status().ok()) << worker->status();
    EXPECT_EQ(worker->end(), engine::EndReason::kStopped);
    job.expect_trained(*worker, last);
  }
  EXPECT_EQ(c.id(), WorkerId(3));
  EXPECT_GE(with_two, 20);
  EXPECT_GE(with_three, 20);
  EXPECT_EQ(job.check_log().steps_applied, last.value());
}

}  // namespace
}  // namespace spillway::testing
