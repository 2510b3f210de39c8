// SPDX-License-Identifier: Apache-2.0
// Members that die, fail, or are wrong: the others go on, nothing is lost or used twice.
#include <tuple>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "test_job.h"

namespace spillway::testing {
namespace {

using ::testing::HasSubstr;

enum class DiesAt
{
  kBegin,
  kFinish,
  kOutcome
};

TestWorker::Hooks dies(DiesAt where, StepId step)
{
  TestWorker::Hooks hooks;
  if (where == DiesAt::kBegin)
    hooks.on_begin = [=](engine::Engine&, const engine::StepPlan& plan) {
      return plan.name.step != step;
    };
  if (where == DiesAt::kFinish)
    hooks.on_finish = [=](engine::Engine&, const engine::StepPlan& plan,
                          engine::StepContribution&) { return plan.name.step != step; };
  if (where == DiesAt::kOutcome)
    hooks.on_outcome = [=](engine::Engine&, const engine::StepPlan& plan,
                           const engine::StepOutcome&) { return plan.name.step != step; };
  return hooks;
}

void expect_finished(TestJob& job, std::initializer_list<TestWorker*> workers)
{
  TestWorker& first = **workers.begin();
  for (TestWorker* worker : workers)
  {
    EXPECT_TRUE(worker->status().ok()) << worker->status();
    EXPECT_EQ(worker->end(), engine::EndReason::kLastStep);
    job.expect_trained(*worker, StepId(40));
    EXPECT_EQ(worker->replica().weights(), first.replica().weights());
  }
}

class OneDies : public ::testing::TestWithParam<std::tuple<DiesAt, std::uint32_t>>
{
};

TEST_P(OneDies, TheOthersGoOnInTheirProcesses)
{
  const auto [where, victim] = GetParam();
  TestJob job({.workers_min = 1, .workers_max = 3, .last_call = std::chrono::seconds(20)});
  std::vector<TestWorker*> workers;
  for (std::uint32_t i = 0; i < 3; ++i)
  {
    workers.push_back(
        &job.start_worker(i == victim ? dies(where, StepId(10)) : TestWorker::Hooks{}));
    job.await_registered(*workers.back());  // ids, and with them ranks, in this order
  }
  job.join();
  EXPECT_TRUE(workers[victim]->died());
  expect_finished(job, {workers[(victim + 1) % 3], workers[(victim + 2) % 3]});
  EXPECT_EQ(job.check_log().steps_applied, 40u);
}

INSTANTIATE_TEST_SUITE_P(Places, OneDies,
                         ::testing::Combine(::testing::Values(DiesAt::kBegin, DiesAt::kFinish,
                                                              DiesAt::kOutcome),
                                            ::testing::Values(0u, 2u)));

TEST(Faults, TwoOfFourDieAtOnce)
{
  TestJob job({.workers_min = 1, .workers_max = 4, .last_call = std::chrono::seconds(20)});
  TestWorker& a = job.start_worker();
  TestWorker& b = job.start_worker(dies(DiesAt::kFinish, StepId(10)));
  TestWorker& c = job.start_worker(dies(DiesAt::kFinish, StepId(10)));
  TestWorker& d = job.start_worker();
  job.join();
  EXPECT_TRUE(b.died() && c.died());
  expect_finished(job, {&a, &d});
  EXPECT_EQ(job.check_log().steps_applied, 40u);
}

TEST(Faults, ADeadMemberIsReplacedWhileTheOthersTrain)
{
  TestJob job({.workers_min = 1,
               .workers_max = 3,
               .last_call = std::chrono::seconds(20),
               .last_step = StepId()});
  TestWorker::Hooks stops;
  int whole = 0;
  stops.on_outcome = [&](engine::Engine& engine, const engine::StepPlan& plan,
                         const engine::StepOutcome& outcome) {
    if (plan.name.step > StepId(10) && plan.members == 3) ++whole;
    if (whole > 10) engine.request_stop();
    EXPECT_TRUE(outcome.result != engine::StepResult::kSkipped);
    return true;
  };
  TestWorker& a = job.start_worker(stops);
  TestWorker& b = job.start_worker();
  TestWorker& c = job.start_worker(dies(DiesAt::kFinish, StepId(10)));
  job.await_step(c, StepId(10));
  TestWorker& d = job.start_worker();
  job.join();
  EXPECT_TRUE(c.died());
  const StepId last(static_cast<std::uint64_t>(a.replica().steps()));
  for (TestWorker* worker : {&a, &b, &d})
  {
    EXPECT_TRUE(worker->status().ok()) << worker->status();
    EXPECT_EQ(worker->end(), engine::EndReason::kStopped);
    job.expect_trained(*worker, last);
  }
  EXPECT_EQ(d.stats().joins, 1u);
  EXPECT_EQ(job.check_log().steps_applied, last.value());
}

TEST(Faults, WhoseApplyFailsCopiesTheState)
{
  TestJob job({.workers_min = 3, .workers_max = 3});
  TestWorker& a = job.start_worker();
  TestWorker& b = job.start_worker();
  TestWorker& c = job.start_worker();
  int left = 1;
  c.replica().on_apply = [&](const engine::StepTotals& totals) {
    if (totals.name.step != StepId(12) || left-- <= 0) return absl::OkStatus();
    return absl::InternalError("out of something");
  };
  job.join();
  expect_finished(job, {&a, &b, &c});
  EXPECT_EQ(job.check_log().steps_applied, 40u);
}

TEST(Faults, AFailedApplyOfTheOnlyMemberEndsTheJobWithItsReason)
{
  TestJob job({.workers_min = 1, .workers_max = 1});
  TestWorker& a = job.start_worker();
  a.replica().on_apply = [](const engine::StepTotals& totals) {
    return totals.name.step == StepId(3) ? absl::InternalError("out of luck") : absl::OkStatus();
  };
  job.join();
  EXPECT_THAT(std::string(a.status().message()), HasSubstr("out of luck"));
}

TEST(Faults, AFlippedBitIsNamedAndTheReplicaCopiesAnew)
{
  TestJob job({.workers_min = 3, .workers_max = 3, .ballast = 4096, .replica_check_bytes = 1024});
  TestWorker& a = job.start_worker();
  TestWorker& b = job.start_worker();
  TestWorker& c = job.start_worker();
  c.replica().on_apply = [&](const engine::StepTotals& totals) {
    if (totals.name.step == StepId(5)) c.replica().flip_a_bit();
    return absl::OkStatus();
  };
  job.join();
  expect_finished(job, {&a, &b, &c});
  EXPECT_EQ(c.stats().joins, c.id() == WorkerId(1) ? 1u : 2u);
  const invariants::LogReport report = job.read_log();
  EXPECT_FALSE(report.replicas_equal);  // until it was found
  EXPECT_EQ(report.samples_lost, 0u);
  EXPECT_EQ(report.samples_doubled, 0u);
}

TEST(Faults, WithTwoMembersAFlippedBitIsATypedError)
{
  TestJob job({.workers_min = 2, .workers_max = 2});
  TestWorker& a = job.start_worker();
  TestWorker& b = job.start_worker();
  b.replica().on_apply = [&](const engine::StepTotals& totals) {
    if (totals.name.step == StepId(5)) b.replica().flip_a_bit();
    return absl::OkStatus();
  };
  job.join();
  EXPECT_EQ(a.status().code(), absl::StatusCode::kFailedPrecondition) << a.status();
  EXPECT_THAT(std::string(a.status().message()), HasSubstr("without a majority"));
  EXPECT_EQ(b.status().code(), absl::StatusCode::kFailedPrecondition) << b.status();
}

TEST(Faults, AnAbortIsAnsweredWhileTheLoopComputes)
{
  TestJob job({.workers_min = 1, .workers_max = 2, .last_call = std::chrono::seconds(20)});
  std::mutex mutex;
  std::condition_variable changed;
  std::atomic<bool> computes{false};
  bool aborted = false;
  TestWorker::Hooks slow;
  slow.on_begin = [&](engine::Engine& engine, const engine::StepPlan& plan) {
    if (plan.name.step != StepId(10) || plan.redo) return true;
    computes = true;
    computes.notify_all();
    // As a long micro-batch would, this looks at nothing but the flag.
    std::unique_lock lock(mutex);
    for (int i = 0; i < 5000 && !engine.step_aborted(); ++i)
      changed.wait_for(lock, std::chrono::milliseconds(2));
    aborted = engine.step_aborted();
    return true;
  };
  TestWorker& a = job.start_worker(slow);
  TestWorker::Hooks dies_meanwhile;
  dies_meanwhile.on_begin = [&](engine::Engine&, const engine::StepPlan& plan) {
    if (plan.name.step != StepId(10)) return true;
    computes.wait(false);
    return false;
  };
  TestWorker& b = job.start_worker(dies_meanwhile);
  job.join();
  EXPECT_TRUE(b.died());
  EXPECT_TRUE(aborted);
  expect_finished(job, {&a});
  EXPECT_EQ(a.stats().steps_aborted, 1u);
  job.check_log();
}

}  // namespace
}  // namespace spillway::testing
