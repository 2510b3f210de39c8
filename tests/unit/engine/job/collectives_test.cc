// SPDX-License-Identifier: Apache-2.0
// User collectives between two steps: one result for all, whatever happens to the members.
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "test_job.h"

namespace spillway::testing {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

MutableByteSpan bytes_of(std::vector<double>& values)
{
  return {reinterpret_cast<std::byte*>(values.data()), values.size() * sizeof(double)};
}

// Evaluates after every third step: a sum, a gather of ids, a barrier. What it saw, by step.
struct Evaluator
{
  std::map<StepId, std::pair<double, std::size_t>> seen;
  absl::Status status;

  TestWorker::Hooks hooks(std::function<bool(StepId, int call)> goes_on = {})
  {
    TestWorker::Hooks hooks;
    hooks.on_outcome = [this, goes_on](engine::Engine& engine, const engine::StepPlan& plan,
                                       const engine::StepOutcome& outcome) {
      const StepId step = plan.name.step;
      if (outcome.result == engine::StepResult::kAborted || step.value() % 3 != 0) return true;
      const auto alive = [&](int call) { return !goes_on || goes_on(step, call); };
      if (!alive(0)) return false;
      // Of a sum over 100 things each member computes its share; 1.0 counts the members.
      std::vector<double> values;
      absl::Status summed;
      do {
        const engine::Sharers share = engine.call_sharers();
        EXPECT_LT(share.rank.value(), share.count);
        values = {static_cast<double>(100 * (share.rank.value() + 1) / share.count -
                                      100 * share.rank.value() / share.count),
                  1.0};
        summed = engine.all_reduce(comm::DType::kFp64, bytes_of(values));
      } while (absl::IsOutOfRange(summed));
      if (!alive(1)) return false;
      const std::string mine(step.value() % 5, 'x');
      absl::StatusOr<std::vector<std::string>> gathered;
      do gathered = engine.all_gather(as_bytes(mine));
      while (absl::IsOutOfRange(gathered.status()));
      if (!alive(2)) return false;
      const absl::Status met = engine.barrier();
      for (const absl::Status& one : {summed, gathered.status(), met})
        if (!one.ok() && one.code() != absl::StatusCode::kAborted) status = one;
      if (!summed.ok() || !gathered.ok()) return true;
      for (const std::string& text : *gathered) EXPECT_EQ(text, mine);
      EXPECT_EQ(values[0], 100) << "of " << values[1] << " members";
      seen[step] = {values[1], gathered->size()};
      return true;
    };
    return hooks;
  }
};

void expect_agree(const Evaluator& a, const Evaluator& b)
{
  EXPECT_TRUE(a.status.ok()) << a.status;
  EXPECT_TRUE(b.status.ok()) << b.status;
  for (const auto& [step, result] : a.seen)
  {
    const auto other = b.seen.find(step);
    if (other == b.seen.end()) continue;
    EXPECT_EQ(result, other->second) << "after step " << step;
  }
}

TEST(Collectives, AllMembersGetOneResult)
{
  TestJob job({.workers_min = 3, .workers_max = 3});
  Evaluator a, b, c;
  for (Evaluator* one : {&a, &b, &c}) job.start_worker(one->hooks());
  job.join();
  expect_agree(a, b);
  expect_agree(a, c);
  EXPECT_EQ(a.seen.size(), 13u);
  for (const auto& [step, result] : a.seen) EXPECT_EQ(result, std::make_pair(3.0, std::size_t{3}));
  job.check_log();
}

TEST(Collectives, AreOnesOwnWhenAlone)
{
  TestJob job({.workers_min = 1, .workers_max = 1});
  Evaluator a;
  job.start_worker(a.hooks());
  job.join();
  EXPECT_TRUE(a.status.ok()) << a.status;
  EXPECT_EQ(a.seen[StepId(3)], std::make_pair(1.0, std::size_t{1}));
}

class DiesBetween : public ::testing::TestWithParam<int>
{
};

TEST_P(DiesBetween, TheOthersRepeatTheCall)
{
  const int call = GetParam();
  TestJob job({.workers_min = 1, .workers_max = 3, .last_call = std::chrono::seconds(20)});
  Evaluator a, b, c;
  TestWorker& first = job.start_worker(a.hooks());
  TestWorker& second = job.start_worker(b.hooks());
  TestWorker& third = job.start_worker(
      c.hooks([call](StepId step, int at) { return step != StepId(12) || at != call; }));
  job.join();
  EXPECT_TRUE(third.died());
  expect_agree(a, b);
  for (TestWorker* worker : {&first, &second})
  {
    EXPECT_TRUE(worker->status().ok()) << worker->status();
    job.expect_trained(*worker, StepId(40));
  }
  EXPECT_TRUE(a.seen.contains(StepId(12)));
  EXPECT_EQ(a.seen[StepId(39)].second, 2u);
  job.check_log();
}

INSTANTIATE_TEST_SUITE_P(Calls, DiesBetween, ::testing::Values(0, 1, 2));

TEST(Collectives, GoOnWhileWorkersJoinAndLeave)
{
  TestJob job({.workers_min = 1, .workers_max = 3, .last_step = StepId()});
  Evaluator a, b, c;
  TestWorker::Hooks first = a.hooks();
  first.on_begin = [whole = false, seen = 0](engine::Engine& engine,
                                             const engine::StepPlan& plan) mutable {
    whole = whole || plan.members == 3;
    if (whole && plan.members == 2 && ++seen > 10) engine.request_stop();
    return true;
  };
  TestWorker& one = job.start_worker(first);
  job.await_step(one, StepId(5));
  TestWorker& two = job.start_worker(b.hooks());
  TestWorker::Hooks third = c.hooks();
  third.on_begin = [seen = 0](engine::Engine& engine, const engine::StepPlan& plan) mutable {
    if (plan.members == 3 && ++seen == 5) engine.request_leave();
    return true;
  };
  TestWorker& three = job.start_worker(third);
  job.join();
  for (TestWorker* worker : {&one, &two, &three})
  {
    EXPECT_TRUE(worker->status().ok()) << worker->status();
    EXPECT_EQ(worker->stats().steps_aborted, 0u);
  }
  expect_agree(a, b);
  expect_agree(a, c);
  expect_agree(b, c);
  job.check_log();
}

// P13 holds between two steps as well: the others wait in a call that one of them never makes.
TEST(Collectives, WhoLetsTheOthersWaitInACallIsEvicted)
{
  std::mutex mutex;
  std::condition_variable never;
  TestJob job({.workers_min = 1,
               .workers_max = 3,
               .last_call = std::chrono::seconds(20),
               .progress_floor = std::chrono::milliseconds(300)});
  Evaluator a, b, c;
  TestWorker& first = job.start_worker(a.hooks());
  TestWorker& second = job.start_worker(b.hooks());
  TestWorker& third = job.start_worker(c.hooks([&](StepId step, int at) {
    if (step != StepId(12) || at != 1) return true;
    std::unique_lock lock(mutex);
    never.wait_for(lock, std::chrono::seconds(6), [] { return false; });
    return true;
  }));
  job.join();
  EXPECT_EQ(third.replica().steps(), 12);
  expect_agree(a, b);
  for (TestWorker* worker : {&first, &second})
  {
    EXPECT_TRUE(worker->status().ok()) << worker->status();
    job.expect_trained(*worker, StepId(40));
  }
  EXPECT_EQ(a.seen[StepId(12)], std::make_pair(3.0, std::size_t{2}));  // summed with the third
  EXPECT_EQ(a.seen[StepId(39)].second, 2u);
  job.check_log();
}

TEST(Collectives, DifferentCallsAreAnErrorThatNamesThem)
{
  TestJob job({.workers_min = 2, .workers_max = 2});
  std::vector<absl::Status> statuses(2);
  for (std::size_t i = 0; i < 2; ++i)
  {
    TestWorker::Hooks hooks;
    hooks.on_outcome = [&, i](engine::Engine& engine, const engine::StepPlan& plan,
                              const engine::StepOutcome&) {
      if (plan.name.step != StepId(6)) return true;
      std::vector<double> values(3 + i);
      statuses[i] = engine.all_reduce(comm::DType::kFp64, bytes_of(values));
      return false;
    };
    job.start_worker(hooks);
  }
  job.join();
  for (const absl::Status& status : statuses)
  {
    EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition) << status;
    EXPECT_THAT(std::string(status.message()), HasSubstr("differs between workers"));
  }
}

}  // namespace
}  // namespace spillway::testing
