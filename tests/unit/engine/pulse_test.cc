// SPDX-License-Identifier: Apache-2.0
// What a member says of its loop once a second (P13).
#include "pulse.h"

#include <vector>

#include "coordinator/service/manual_clock.h"
#include "gtest/gtest.h"

namespace spillway::engine {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;
using Phase = ProgressReport::Phase;

// Keeps what is sent; each report is followed by telemetry, so that is a look at the clock.
class RecordingLink final : public coordinator::ControlLink
{
 public:
  void start(coordinator::LinkCallbacks) override {}
  absl::StatusOr<coordinator::Welcome> register_worker(const coordinator::WorkerHello&,
                                                       MonotonicTime) override
  {
    return absl::UnimplementedError("nobody is here");
  }
  void send(const MemberStatus&, MemberListPtr) override {}
  void send(const ProgressReport& report) override
  {
    const std::lock_guard lock(mutex_);
    report_ = report;
    if (report.phase == Phase::kComputing) ++computing_;
  }
  void send(const ProbeResult&) override {}
  void send(const coordinator::Telemetry&) override
  {
    const std::lock_guard lock(mutex_);
    ++looks_;
    changed_.notify_all();
  }
  // What the next look at the clock says, if anything.
  template <typename Wake>
  std::optional<ProgressReport> next(const Wake& wake)
  {
    std::unique_lock lock(mutex_);
    report_.reset();
    const int before = looks_;
    lock.unlock();
    wake();
    lock.lock();
    EXPECT_TRUE(changed_.wait_for(lock, seconds(20), [&] { return looks_ > before; }));
    return report_;
  }

  int computing()
  {
    const std::lock_guard lock(mutex_);
    return computing_;
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  int looks_ = 0;
  int computing_ = 0;
  std::optional<ProgressReport> report_;
};

class PulseTest : public ::testing::Test
{
 protected:
  PulseTest()
      : pulse_({.clock = &clock_,
                .link = &link_,
                .busy_limit = seconds(60),
                .tend_links = [] { return false; },
                .p99 = [this] { return p99_.load(); },
                .telemetry = [] { return coordinator::Telemetry(); },
                .on_long_wait = [this](Number, StepId) { ++long_waits_; }})
  {
  }
  std::optional<ProgressReport> after(Duration span)
  {
    return link_.next([&] {
      clock_.advance(span);
      pulse_.nudge();
    });
  }

  coordinator::ManualClock clock_;
  RecordingLink link_;
  std::atomic<Duration> p99_{milliseconds(100)};
  std::atomic<int> long_waits_{0};
  Pulse pulse_;
};

const StepName kStep{Lineage(77), Number(3), RoundId(8), Number(3), StepId(8)};

TEST_F(PulseTest, SaysNothingOfStepsThatGoOn)
{
  EXPECT_FALSE(after(seconds(100)));  // no step yet: nobody waits for this one
  pulse_.begun(kStep);
  EXPECT_FALSE(after(seconds(9)));
  pulse_.handed_in();
  pulse_.done();
  EXPECT_FALSE(after(seconds(9)));
}

TEST_F(PulseTest, SaysThatItComputesLong)
{
  pulse_.begun(kStep);
  EXPECT_FALSE(after(seconds(9)));
  const std::optional<ProgressReport> report = after(seconds(2));
  ASSERT_TRUE(report);
  EXPECT_EQ(report->phase, Phase::kComputing);
  EXPECT_EQ(report->name, EpochName::one_site(Lineage(77), Number(3)));
  EXPECT_EQ(report->step, StepId(8));
  EXPECT_EQ(report->lasts, seconds(11));
  EXPECT_EQ(report->p99_step, milliseconds(100));
  ASSERT_TRUE(after(seconds(1)));
  // Between two steps, too.
  pulse_.done();
  EXPECT_FALSE(after(seconds(9)));
  EXPECT_TRUE(after(seconds(2)));
  // Not if steps take that long anyway.
  p99_ = seconds(5);
  EXPECT_FALSE(after(seconds(30)));
}

TEST_F(PulseTest, SaysThatItWaitsAndKeepsWhatIsKnownOnce)
{
  pulse_.begun(kStep);
  EXPECT_TRUE(after(seconds(20)));
  pulse_.handed_in();
  std::optional<ProgressReport> report = after(seconds(2));
  ASSERT_TRUE(report);
  EXPECT_EQ(report->phase, Phase::kHandedIn);
  EXPECT_EQ(long_waits_, 0);
  ASSERT_TRUE(after(seconds(9)));
  ASSERT_TRUE(after(seconds(1)));
  EXPECT_EQ(long_waits_, 1);
  pulse_.done();
  EXPECT_FALSE(after(seconds(1)));
}

TEST_F(PulseTest, TakesBackThatItWaitsInACall)
{
  StepName next = kStep;
  next.step = next.step.next();
  pulse_.begun(kStep);
  pulse_.done();
  pulse_.begin_call(next);
  std::optional<ProgressReport> report = after(seconds(1));
  ASSERT_TRUE(report);
  EXPECT_EQ(report->phase, Phase::kHandedIn);
  EXPECT_EQ(report->step, StepId(9));
  report = link_.next([&] { pulse_.end_call(); });  // at once
  ASSERT_TRUE(report);
  EXPECT_EQ(report->phase, Phase::kComputing);
  EXPECT_EQ(report->step, StepId(9));
  EXPECT_FALSE(after(seconds(1)));  // once
  // Nor is there anything to take back of a call that did not last.
  pulse_.begin_call(next);
  pulse_.end_call();
  EXPECT_FALSE(after(seconds(1)));
  // A call that follows at once does not hide that the one before has ended.
  pulse_.begin_call(next);
  ASSERT_TRUE(after(seconds(2)));
  const int before = link_.computing();
  pulse_.end_call();  // said now or, if the next call is faster, after it
  pulse_.begin_call(next);
  pulse_.end_call();
  for (int look = 0; look < 2; ++look) after(seconds(1));  // the first may have begun before
  EXPECT_EQ(link_.computing(), before + 1);
}

TEST_F(PulseTest, IsBusyForAsLongAsItsLimit)
{
  pulse_.begun(kStep);
  pulse_.done();
  std::optional<ProgressReport> report = link_.next([&] { pulse_.begin_busy("evaluate"); });
  ASSERT_TRUE(report);  // at once
  EXPECT_EQ(report->phase, Phase::kBusy);
  EXPECT_EQ(report->busy_limit, seconds(60));
  // Its look, which is at once, too, must not be taken for the one after.
  ASSERT_TRUE(link_.next([&] { pulse_.begin_busy("and within"); }));
  report = after(seconds(50));
  ASSERT_TRUE(report);
  EXPECT_EQ(report->busy_limit, seconds(10));
  pulse_.end_busy();
  ASSERT_TRUE(after(seconds(9)));
  EXPECT_FALSE(after(seconds(1)));  // the limit
  pulse_.end_busy();
  EXPECT_FALSE(after(seconds(9)));
  EXPECT_TRUE(after(seconds(2)));  // computes long
}

}  // namespace
}  // namespace spillway::engine
