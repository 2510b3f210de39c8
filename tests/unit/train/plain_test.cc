// SPDX-License-Identifier: Apache-2.0
// What of the train API needs no libtorch: schedules, samples, the loops over gradients, errors.
#include <cmath>
#include <limits>
#include <set>
#include <vector>

#include "gmock/gmock.h"
#include "gradient_math.h"
#include "gtest/gtest.h"
#include "spillway/train/train.h"

namespace spillway {
namespace {

TEST(LrSchedule, IsAFunctionOfTheStep)
{
  EXPECT_EQ(LrSchedule::constant(0.1).at(1000), 0.1);
  const LrSchedule decay = LrSchedule::step_decay(1.0, 10, 0.5);
  EXPECT_EQ(decay.at(1), 1.0);
  EXPECT_EQ(decay.at(10), 1.0);
  EXPECT_EQ(decay.at(11), 0.5);
  EXPECT_EQ(decay.at(31), 0.125);
  const LrSchedule cosine = LrSchedule::cosine(1.0, 100, 0.1);
  EXPECT_EQ(cosine.at(1), 1.0);
  EXPECT_NEAR(cosine.at(51), 0.55, 1e-12);
  EXPECT_EQ(cosine.at(100), 0.1);
  EXPECT_EQ(cosine.at(5000), 0.1);
  const LrSchedule warm = LrSchedule::constant(2.0).warmed_up(4);
  EXPECT_EQ(warm.at(1), 0.5);
  EXPECT_EQ(warm.at(4), 2.0);
  EXPECT_EQ(warm.at(9), 2.0);
  EXPECT_NE(warm.name(), LrSchedule::constant(2.0).name());
  EXPECT_THROW(LrSchedule::cosine(1.0, 0), Error);
}

TEST(Samples, OfAPassAreEachIndexOnceOverAllParts)
{
  engine::DataOptions options;
  options.parts = {{"a", 30}, {"b", 10}};
  options.global_batch = 8;
  const auto plan = engine::DataPlan::create(options);
  ASSERT_TRUE(plan.ok());
  std::multiset<std::int64_t> seen;
  std::set<std::uint64_t> seeds;
  Samples samples;
  for (std::uint64_t step = 1; step <= 5; ++step)
  {
    samples.fill(*plan, StepId(step), plan->step_positions(StepId(step)), true);
    EXPECT_EQ(samples.step, step);
    EXPECT_EQ(samples.size(), 8u);
    seen.insert(samples.indices.begin(), samples.indices.end());
    seeds.insert(samples.seeds.begin(), samples.seeds.end());
  }
  EXPECT_EQ(seen.size(), 40u);
  EXPECT_EQ(std::set<std::int64_t>(seen.begin(), seen.end()).size(), 40u);
  EXPECT_EQ(*seen.begin(), 0);
  EXPECT_EQ(*seen.rbegin(), 39);
  EXPECT_EQ(seeds.size(), 40u);
}

TEST(GradientMath, SumsAndScales)
{
  std::vector<float> values(37);
  double expected = 0;
  for (std::size_t i = 0; i < values.size(); ++i)
  {
    values[i] = static_cast<float>(i) - 11;
    expected += static_cast<double>(values[i]) * static_cast<double>(values[i]);
  }
  EXPECT_EQ(internal::sum_of_squares(absl::Span<const float>(values)), expected);
  internal::scale(absl::MakeSpan(values), 0.5);
  EXPECT_EQ(values[36], 12.5F);
  // The largest floats do not overflow the sum; what is not finite shows, wherever it is.
  values[36] = std::numeric_limits<float>::max();
  EXPECT_TRUE(std::isfinite(internal::sum_of_squares(absl::Span<const float>(values))));
  values[3] = std::numeric_limits<float>::quiet_NaN();
  EXPECT_FALSE(std::isfinite(internal::sum_of_squares(absl::Span<const float>(values))));
}

TEST(Runtime, SaysHowToStartAProgramThatWasStartedByHand)
{
  try
  {
    Runtime::init();
    FAIL() << "started without an agent";
  }
  catch (const Error& error)
  {
    EXPECT_EQ(error.code(), absl::StatusCode::kFailedPrecondition);
    EXPECT_THAT(error.what(), ::testing::HasSubstr("spillway run --standalone"));
  }
}

}  // namespace
}  // namespace spillway
