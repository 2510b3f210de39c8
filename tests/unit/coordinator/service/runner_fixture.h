// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>

#include "manual_clock.h"
#include "recording_agent.h"
#include "recording_worker.h"
#include "spillway/base/log.h"

namespace spillway::coordinator {

// A runner over a memory disk under a clock that stands still. Agents and workers come after it.
class RunnerTest : public ::testing::Test
{
 protected:
  static void SetUpTestSuite() { set_log_level(LogLevel::kError); }
  void open() { open_on(open_memory_store(disk_)); }
  void open_on(std::unique_ptr<Store> store)
  {
    runner_.reset();
    store_ = std::move(store);
    const auto term = store_->begin_term();
    ASSERT_TRUE(term.ok()) << term.status();
    auto runner = JobRunner::open(
        "mnist", options_,
        {store_.get(), *term, &clock_, [this](const absl::Status&) { ++deposed_; }});
    ASSERT_TRUE(runner.ok()) << runner.status();
    runner_ = *std::move(runner);
  }
  // Everything said so far is heard, and what is due has happened.
  JobReport settle()
  {
    auto report = runner_->report(kSoon);
    EXPECT_TRUE(report.ok()) << report.status();
    return report.ok() ? *std::move(report) : JobReport();
  }
  JobReport after(Duration span)
  {
    clock_.advance(span);
    return settle();
  }
  static std::optional<JobReport::Member> member(const JobReport& report, WorkerId worker)
  {
    for (const auto& entry : report.members)
      if (entry.worker == worker) return entry;
    return std::nullopt;
  }

  ManualClock clock_;
  RunnerOptions options_;
  std::shared_ptr<MemoryDisk> disk_ = make_memory_disk();
  std::unique_ptr<Store> store_;
  std::atomic<int> deposed_{0};
  std::unique_ptr<JobRunner> runner_;
};

}  // namespace spillway::coordinator
