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

// P13, P14: a member's record does not come. The others report their links to it, it is left out as
// the one whom both cannot reach, and comes back by a probe; the coordinator's own patience is
// long.
TEST(Links, ALateWordIsReportedByThoseWhoWaitForIt)
{
  std::atomic<int> stalls{1};
  LinkFaults faults;
  faults.stalls = [&](WorkerId self, const comm::OpName& call) {
    return self == WorkerId(3) && call.step == StepId(10) && stalls.fetch_sub(1) > 0;
  };
  TestJob job({.workers_min = 1,
               .workers_max = 3,
               .last_call = std::chrono::seconds(20),
               .last_step = StepId(),
               .word_timeout = std::chrono::milliseconds(200),
               .links = &faults});
  TestWorker::Hooks stops;
  auto after = std::make_shared<int>(0);
  stops.on_outcome = [=](engine::Engine& engine, const engine::StepPlan& plan,
                         const engine::StepOutcome&) {
    if (plan.name.step > StepId(12) && plan.members == 3 && ++*after == 10) engine.request_stop();
    return true;
  };
  TestWorker& a = job.start_worker(stops);
  job.await_registered(a);  // ids in this order
  TestWorker& b = job.start_worker();
  job.await_registered(b);
  TestWorker& c = job.start_worker();
  const MonotonicTime begun = system_clock().now();
  job.join();
  EXPECT_LT(system_clock().now() - begun, std::chrono::seconds(20));
  for (TestWorker* worker : {&a, &b, &c})
  {
    EXPECT_TRUE(worker->status().ok()) << worker->status();
    EXPECT_EQ(worker->end(), engine::EndReason::kStopped);
    EXPECT_EQ(worker->stats().steps_aborted, 1u);
  }
  EXPECT_GE(c.stats().joins, 1u);  // it was left out
  EXPECT_LT(stalls, 1);
  EXPECT_EQ(job.check_log().steps_applied, static_cast<std::uint64_t>(a.replica().steps()));
}

// P13: the others wait for who is busy, and for who does something else as long they do not.
TEST(Links, WhoIsBusyIsNotLate)
{
  for (const bool says_so : {true, false})
  {
    std::mutex mutex;
    std::condition_variable never;
    TestJob job({.workers_min = 1,
                 .workers_max = 2,
                 .last_call = std::chrono::seconds(20),
                 .last_step = StepId(20),
                 .progress_floor = std::chrono::milliseconds(300)});
    TestWorker& a = job.start_worker();
    TestWorker::Hooks evaluates;
    evaluates.on_outcome = [&](engine::Engine& engine, const engine::StepPlan& plan,
                               const engine::StepOutcome&) {
      if (plan.name.step != StepId(10)) return true;
      const auto busy = says_so ? engine.busy("evaluate") : nullptr;
      std::unique_lock lock(mutex);
      never.wait_for(lock, std::chrono::seconds(4), [] { return false; });
      return true;
    };
    TestWorker& b = job.start_worker(evaluates);
    job.join();
    EXPECT_EQ(a.stats().steps_aborted, says_so ? 0u : 1u);
    EXPECT_EQ(a.end(), engine::EndReason::kLastStep) << a.status();
    EXPECT_TRUE(!says_so || b.end() == engine::EndReason::kLastStep) << b.status();
    job.expect_trained(a, StepId(20));
  }
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

// P13, P7: members say over a new number what they hold, and that call stands still, at a member or
// at who joins. Nobody knows the base then, and the members wait for it like for any other call.
TEST(Links, AnAnnouncementThatStandsStillIsNotWaitedForForEver)
{
  for (const WorkerId stands_still : {WorkerId(1), WorkerId(3)})
  {
    std::atomic<int> stalls{1};
    LinkFaults faults;
    faults.stalls = [&](WorkerId self, const comm::OpName& call) {
      return self == stands_still && !call.step && stalls.fetch_sub(1) > 0;
    };
    TestJob job({.workers_min = 2,
                 .workers_max = 3,
                 .last_step = StepId(),
                 .progress_floor = std::chrono::milliseconds(300),
                 .links = &faults});
    TestWorker::Hooks stops;
    stops.on_outcome = [&](engine::Engine& engine, const engine::StepPlan& plan,
                           const engine::StepOutcome& outcome) {
      const bool applied = outcome.result == engine::StepResult::kApplied;
      if (applied && plan.name.job_epoch == Number(3)) engine.request_stop();
      return true;
    };
    TestWorker& a = job.start_worker(stops);
    job.await_registered(a);  // ids in this order
    TestWorker& b = job.start_worker(stops);
    job.await_step(a, StepId(5));
    const MonotonicTime begun = system_clock().now();
    job.start_worker();
    job.join();
    EXPECT_LT(system_clock().now() - begun, std::chrono::seconds(20));
    for (TestWorker* worker : {&a, &b})
    {
      EXPECT_TRUE(worker->status().ok()) << worker->status();
      EXPECT_EQ(worker->end(), engine::EndReason::kStopped);
      EXPECT_EQ(worker->stats().steps_aborted, 1u);
    }
    EXPECT_LT(stalls, 1);
    EXPECT_EQ(job.check_log().steps_applied, static_cast<std::uint64_t>(a.replica().steps()));
  }
}

// P13: a joiner has handed in its zeros while the others do something long before their next step.
// None of their loops waits for another, so nobody is late; with a second member one would be.
TEST(Links, WhoOnlyJoinsMakesNobodyLate)
{
  std::mutex mutex;
  std::condition_variable never;
  TestJob job({.workers_min = 1,
               .workers_max = 2,
               .last_step = StepId(),
               .progress_floor = std::chrono::milliseconds(300)});
  TestWorker::Hooks evaluates;
  int evaluated = 0;
  evaluates.on_outcome = [&](engine::Engine& engine, const engine::StepPlan& plan,
                             const engine::StepOutcome&) {
    if (engine.stats().epochs == 2 && plan.members == 1 && evaluated++ == 0)
    {
      std::unique_lock lock(mutex);
      never.wait_for(lock, std::chrono::seconds(4), [] { return false; });
    }
    if (plan.members == 2) engine.request_stop();
    return true;
  };
  TestWorker& a = job.start_worker(evaluates);
  job.await_step(a, StepId(5));
  TestWorker::Hooks stops;
  stops.on_outcome = [](engine::Engine& engine, const engine::StepPlan&,
                        const engine::StepOutcome&) {
    engine.request_stop();
    return true;
  };
  TestWorker& b = job.start_worker(stops);
  job.join();
  EXPECT_EQ(evaluated, 1);
  for (TestWorker* worker : {&a, &b})
  {
    EXPECT_TRUE(worker->status().ok()) << worker->status();
    EXPECT_EQ(worker->end(), engine::EndReason::kStopped);
    EXPECT_EQ(worker->stats().steps_aborted, 0u);
  }
  job.check_log();
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
