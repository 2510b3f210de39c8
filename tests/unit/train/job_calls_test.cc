// SPDX-License-Identifier: Apache-2.0
// What one worker of several asks for is agreed by all; calls between two steps have one result
// whatever happens to the members.
#include <deque>
#include <limits>
#include <map>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "in_process_job.h"
#include "toy_model.h"

namespace spillway::testing {
namespace {

using ::testing::Each;
using ::testing::HasSubstr;
using torch::optim::AdamW;
using torch::optim::AdamWOptions;

constexpr std::uint64_t kMostSteps = 3000;

// True once, when `members` have trained five steps together: then the loops of all see steps, also
// of those that began with a copy of the state.
class Together
{
 public:
  explicit Together(std::uint32_t members) : members_(members) {}
  bool operator()(const spillway::Run& run) { return run.size() == members_ && ++steps_ == 5; }

 private:
  const std::uint32_t members_;
  int steps_ = 0;
};

struct Worker
{
  std::int64_t number = 0;
  std::shared_ptr<ToyNet> net = make_net();
  std::map<std::uint64_t, StepResult> results;
  std::map<std::uint64_t, std::vector<std::string>> gathered;
  std::map<std::uint64_t, int> met;  // barriers passed after a step
  bool died = false, left = false;
  engine::EngineStats stats;
  std::string error;
  std::thread thread;
};

class JobCalls : public ::testing::Test
{
 protected:
  struct Hooks
  {
    // The loss of a micro-batch; by default that of the model.
    std::function<at::Tensor(const at::Tensor& loss, Step&, spillway::Run&)> loss;
    std::function<void(Step&, spillway::Run&)> before_finish;
    // False ends this worker as a kill would.
    std::function<bool(Worker&, Step&, spillway::Run&)> after_finish;
  };

  Worker& start(RunOptions options, Hooks hooks)
  {
    Worker& worker = workers.emplace_back();
    worker.number = static_cast<std::int64_t>(workers.size());
    options.event_log_directory = job.event_log_directory();
    worker.thread = job.start(
        worker.number, worker.error,
        [this, &worker, options, hooks = std::move(hooks)] { work(worker, options, hooks); });
    return worker;
  }

  void work(Worker& worker, const RunOptions& options, const Hooks& hooks)
  {
    AdamW optimizer(worker.net->parameters(), AdamWOptions(0.01));
    auto run =
        job.runtime(worker.number).start(TrainState(worker.net, optimizer), toy_data(), options);
    for (auto& step : run.steps())
    {
      for (auto& micro : step)
      {
        at::Tensor loss = loss_sum(worker.net->forward(inputs(micro.indices())));
        if (hooks.loss) loss = hooks.loss(loss, step, run);
        micro.backward(loss, micro.size());
      }
      if (hooks.before_finish) hooks.before_finish(step, run);
      const StepResult result = step.finish();
      if (result == StepResult::kAborted) continue;
      worker.results[step.number()] = result;
      if (hooks.after_finish && !hooks.after_finish(worker, step, run))
      {
        worker.died = true;
        return;
      }
    }
    worker.left = run.left();
    worker.stats = run.stats();
  }

  void join()
  {
    for (Worker& worker : workers) worker.thread.join();
  }
  void expect_no_errors()
  {
    for (Worker& worker : workers) EXPECT_EQ(worker.error, "") << worker.number;
  }

  InProcessJob job{2};
  std::deque<Worker> workers;
};

TEST_F(JobCalls, AStopThatOneAsksForEndsAllAtOneStep)
{
  std::uint64_t asked_at = 0;
  Together together(3);
  start(toy_options(kMostSteps), {});
  start(toy_options(kMostSteps), {.loss = {},
                                  .before_finish =
                                      [&](Step& step, spillway::Run& run) {
                                        if (!together(run)) return;
                                        asked_at = step.number();
                                        run.request_stop();
                                      },
                                  .after_finish = {}});
  start(toy_options(kMostSteps), {});
  join();
  expect_no_errors();
  ASSERT_GT(asked_at, 0u);
  for (const Worker& worker : workers) ASSERT_FALSE(worker.results.empty()) << worker.number;
  const std::uint64_t last = workers[0].results.rbegin()->first;
  // Asked before the vote of a step, so this one's control word says it, or the next one's.
  EXPECT_GE(last, asked_at);
  EXPECT_LE(last, asked_at + 1);
  for (const Worker& worker : workers)
  {
    EXPECT_EQ(worker.results.rbegin()->first, last) << worker.number;
    EXPECT_FALSE(worker.left);
    EXPECT_EQ(worker.stats.steps_aborted, 0u);
    expect_equal(worker.net->parameters(), workers[0].net->parameters());
  }
  EXPECT_EQ(job.check_log().steps_applied, last);
}

TEST_F(JobCalls, AVetoOfOneSkipsTheStepForAll)
{
  constexpr std::uint64_t kSteps = 30;
  std::uint64_t vetoed = 0;
  Together together(2);
  start(toy_options(kSteps, false), {});
  start(toy_options(kSteps, false), {.loss = {},
                                     .before_finish =
                                         [&](Step& step, spillway::Run& run) {
                                           if (!together(run)) return;
                                           vetoed = step.number();
                                           step.veto();
                                         },
                                     .after_finish = {}});
  join();
  expect_no_errors();
  ASSERT_GT(vetoed, 0u);
  for (const Worker& worker : workers)
    for (const auto& [step, result] : worker.results)
      EXPECT_EQ(result, step == vetoed ? StepResult::kSkipped : StepResult::kApplied)
          << "worker " << worker.number << ", step " << step;
  expect_equal(workers[1].net->parameters(), workers[0].net->parameters());

  // Its samples are used up, and nothing else has happened.
  auto plain = make_net();
  AdamW optimizer(plain->parameters(), AdamWOptions(0.01));
  engine::DataOptions wanted;
  wanted.parts = toy_data().parts;
  wanted.global_batch = 8;
  wanted.seed = 5;
  const auto plan = *engine::DataPlan::create(wanted);
  Samples samples;
  for (std::uint64_t step = 1; step <= kSteps; ++step)
  {
    if (step == vetoed) continue;
    samples.fill(plan, StepId(step), plan.step_positions(StepId(step)), false);
    optimizer.zero_grad();
    (loss_sum(plain->forward(inputs(samples.indices))) / 8).backward();
    optimizer.step();
  }
  expect_close(workers[0].net->parameters(), plain->parameters(), 1e-4);
  EXPECT_EQ(job.check_log().steps_applied, kSteps);
}

TEST_F(JobCalls, ALossOfOneThatIsNotANumberStopsAllThatAskForIt)
{
  RunOptions options = toy_options(kMostSteps);
  options.on_nan = OnNan::kStop;
  std::uint64_t poisoned = 0;
  Together together(3);
  start(options, {});
  start(options, {.loss =
                      [&](const at::Tensor& loss, Step& step, spillway::Run& run) {
                        if (!together(run)) return loss;
                        poisoned = step.number();
                        return loss * std::numeric_limits<float>::quiet_NaN();
                      },
                  .before_finish = {},
                  .after_finish = {}});
  start(options, {});
  join();
  ASSERT_GT(poisoned, 0u);
  for (const Worker& worker : workers) ASSERT_TRUE(worker.results.contains(poisoned));
  for (const Worker& worker : workers)
  {
    EXPECT_THAT(worker.error,
                HasSubstr("the loss of step " + std::to_string(poisoned) + " was not a number"))
        << worker.number;
    EXPECT_EQ(worker.results.at(poisoned), StepResult::kSkipped);
    EXPECT_EQ(worker.results.rbegin()->first, workers[0].results.rbegin()->first);
    EXPECT_LE(worker.results.rbegin()->first, poisoned + 2);
    for (const at::Tensor& parameter : worker.net->parameters())
      EXPECT_TRUE(parameter.isfinite().all().item<bool>());
    expect_equal(worker.net->parameters(), workers[0].net->parameters());
  }
}

// Three gather and meet after each step; the third dies before, between or after these calls.
class JobCallsOverADeath : public JobCalls, public ::testing::WithParamInterface<int>
{
};

TEST_P(JobCallsOverADeath, HaveOneResult)
{
  const int dies_at = GetParam();
  std::uint64_t last_words = 0;
  const auto calls = [&](bool mortal) {
    return [&, mortal](Worker& worker, Step& step, spillway::Run& run) {
      const auto dies = [&](int call) {
        if (!mortal || run.size() < 3 || call != dies_at || worker.results.size() < 5) return false;
        last_words = step.number();
        return true;
      };
      if (dies(0)) return false;
      if (const auto all =
              run.gather_shares([&](auto, auto) { return std::to_string(step.number()); }))
        worker.gathered[step.number()] = *all;
      if (dies(1)) return false;
      if (run.barrier()) ++worker.met[step.number()];
      if (dies(2)) return false;
      if (run.barrier()) ++worker.met[step.number()];
      return true;
    };
  };
  // Ends the job once two have trained on for a while.
  bool whole = false;
  int alone = 0;
  const auto stop = [&](Step&, spillway::Run& run) {
    whole = whole || run.size() == 3;
    if (whole && run.size() == 2 && ++alone == 10) run.request_stop();
  };
  const RunOptions options = toy_options(kMostSteps);
  start(options, {.loss = {}, .before_finish = stop, .after_finish = calls(false)});
  start(options, {.loss = {}, .before_finish = {}, .after_finish = calls(false)});
  start(options, {.loss = {}, .before_finish = {}, .after_finish = calls(true)});
  join();
  expect_no_errors();
  ASSERT_TRUE(workers[2].died);
  const std::uint64_t last = workers[0].results.rbegin()->first;
  EXPECT_LT(last, kMostSteps);
  for (const std::uint64_t step : {last_words, last_words + 5})
    for (const Worker* worker : {&workers[0], &workers[1]})
    {
      ASSERT_TRUE(worker->gathered.contains(step)) << step;
      EXPECT_THAT(worker->gathered.at(step), Each(std::to_string(step)));
      EXPECT_EQ(worker->met.at(step), 2) << step;
    }
  EXPECT_EQ(workers[0].gathered.at(last_words + 5).size(), 2u);
  if (dies_at == 0)
  {
    EXPECT_EQ(workers[0].gathered.at(last_words).size(), 2u);
  }
  for (const Worker& worker : workers)
    for (const auto& [step, all] : worker.gathered)
    {
      const auto found = workers[0].gathered.find(step);
      if (found == workers[0].gathered.end()) continue;
      EXPECT_EQ(all, found->second) << step;
    }
  expect_equal(workers[1].net->parameters(), workers[0].net->parameters());
  EXPECT_EQ(job.check_log().steps_applied, last);
}

INSTANTIATE_TEST_SUITE_P(Calls, JobCallsOverADeath, ::testing::Values(0, 1, 2));

}  // namespace
}  // namespace spillway::testing
