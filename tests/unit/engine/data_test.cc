// SPDX-License-Identifier: Apache-2.0
#include "spillway/engine/data.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <set>

#include "spillway/base/rng.h"
#include "spillway/engine/state.h"

namespace spillway::engine {
namespace {

DataPlan plan_of(std::vector<std::uint64_t> sizes, std::uint64_t batch, std::uint64_t micro = 0)
{
  DataOptions options{.parts = {}, .global_batch = batch, .max_micro_batch = micro, .seed = 7};
  for (const std::uint64_t size : sizes)
    options.parts.push_back({.name = std::to_string(options.parts.size()), .size = size});
  return *DataPlan::create(options);
}

TEST(PermutationTest, IsABijectionForEverySize)
{
  for (std::uint64_t size : {1, 2, 3, 4, 5, 15, 16, 17, 63, 64, 65, 255, 1000, 1024, 4097})
    for (std::uint64_t seed : {0u, 1u, 99u})
    {
      const Permutation permutation(seed, size);
      std::vector<bool> seen(size);
      for (std::uint64_t place = 0; place < size; ++place)
      {
        const std::uint64_t index = permutation.at(place);
        ASSERT_LT(index, size);
        ASSERT_FALSE(seen[index]) << "size " << size << " seed " << seed << " index " << index;
        ASSERT_EQ(permutation.place_of(index), place) << "size " << size << " seed " << seed;
        seen[index] = true;
      }
    }
}

TEST(PermutationTest, SeedsGiveOtherOrders)
{
  const Permutation a(1, 1000);
  const Permutation b(2, 1000);
  int equal = 0;
  int fixed = 0;
  for (std::uint64_t place = 0; place < 1000; ++place)
  {
    equal += a.at(place) == b.at(place);
    fixed += a.at(place) == place;
  }
  EXPECT_LT(equal, 20);
  EXPECT_LT(fixed, 20);
}

TEST(DataPlanTest, EveryPositionOnceUnderAnyCuts)
{
  Rng rng(42);
  for (int trial = 0; trial < 60; ++trial)
  {
    std::vector<std::uint64_t> sizes;
    const std::uint64_t parts = 1 + rng.below(6);
    std::uint64_t samples = 0;
    for (std::uint64_t i = 0; i < parts; ++i) sizes.push_back(1 + rng.below(200));
    for (const std::uint64_t size : sizes) samples += size;
    const std::uint64_t batch = 1 + rng.below(std::min<std::uint64_t>(samples, 40));
    const DataPlan plan = plan_of(sizes, batch, 1 + rng.below(9));
    std::vector<std::uint64_t> next(parts);
    for (std::uint64_t step = 1; step <= 3 * plan.steps_per_pass(); ++step)
    {
      // Another random list of members in each step.
      std::set<std::uint64_t> cuts{0, batch};
      for (std::uint64_t i = rng.below(5); i > 0; --i) cuts.insert(rng.below(batch));
      std::vector<PositionRange> received;
      for (auto cut = cuts.begin(); std::next(cut) != cuts.end(); ++cut)
      {
        const auto slice = plan.slice(StepId(step), *cut, *std::next(cut));
        for (const auto& micro : plan.micro_batches(slice))
        {
          std::uint64_t size = 0;
          for (const PositionRange& range : micro)
          {
            size += range.size();
            received.push_back(range);
          }
          ASSERT_GT(size, 0u);
          ASSERT_LE(size, plan.options().max_micro_batch);
        }
      }
      // The members' slices follow each other within each part: sort, then each part goes on
      // exactly where the step before it ended.
      std::stable_sort(received.begin(), received.end(),
                       [](const auto& a, const auto& b) { return a.part < b.part; });
      std::uint64_t count = 0;
      for (const PositionRange& range : received)
      {
        ASSERT_EQ(range.begin, next[range.part]);
        next[range.part] = range.end;
        count += range.size();
      }
      ASSERT_EQ(count, batch);
    }
  }
}

TEST(DataPlanTest, PartsAreDrawnInProportionAndPassesEndEven)
{
  const std::vector<std::uint64_t> sizes{600, 300, 99, 1};
  const DataPlan plan = plan_of(sizes, 10);
  std::vector<std::uint64_t> used(sizes.size());
  for (std::uint64_t step = 1; step <= 200; ++step)
  {
    for (const PositionRange& range : plan.step_positions(StepId(step)))
      used[range.part] += range.size();
    for (std::size_t i = 0; i < sizes.size(); ++i)
      EXPECT_NEAR(static_cast<double>(used[i]), static_cast<double>(step * 10 * sizes[i]) / 1000.0,
                  1.5);
    if (step % 100 != 0) continue;
    for (std::size_t i = 0; i < sizes.size(); ++i) EXPECT_EQ(used[i], sizes[i] * (step / 100));
  }
}

TEST(DataPlanTest, IndicesOfAPassAreTheWholePartInAnotherOrderEachPass)
{
  const DataPlan plan = plan_of({50, 31}, 9);
  std::vector<std::uint64_t> first;
  std::vector<std::uint64_t> second;
  for (std::uint64_t i = 0; i < 31; ++i)
  {
    first.push_back(plan.index_at(1, i));
    second.push_back(plan.index_at(1, 31 + i));
  }
  EXPECT_NE(first, second);
  std::sort(first.begin(), first.end());
  std::sort(second.begin(), second.end());
  EXPECT_EQ(first, second);
  EXPECT_EQ(first.front(), 0u);
  EXPECT_EQ(first.back(), 30u);
  EXPECT_EQ(std::set<std::uint64_t>(first.begin(), first.end()).size(), 31u);
}

std::vector<std::int64_t> indices_of(const DataPlan& plan, const std::vector<PositionRange>& ranges)
{
  std::vector<std::int64_t> indices;
  for (const PositionRange& range : ranges)
  {
    std::uint64_t before = 0;
    for (std::uint32_t part = 0; part < range.part; ++part)
      before += plan.options().parts[part].size;
    for (std::uint64_t position = range.begin; position < range.end; ++position)
      indices.push_back(static_cast<std::int64_t>(before + plan.index_at(range.part, position)));
  }
  return indices;
}

// Also where a step goes over from one pass to the next, and has one sample of each.
TEST(DataPlanTest, PositionsAreFoundAgainFromIndices)
{
  for (const auto& sizes : std::vector<std::vector<std::uint64_t>>{{13}, {7, 30, 1}, {8, 8}})
  {
    const DataPlan plan = plan_of(sizes, 8, 3);
    for (std::uint64_t step = 1; step <= 40; ++step)
      for (std::uint64_t cut = 0; cut < 8; ++cut)
        for (const auto& slice :
             {plan.slice(StepId(step), 0, cut), plan.slice(StepId(step), cut, 8)})
          for (const auto& micro : plan.micro_batches(slice))
            ASSERT_EQ(plan.positions_of(indices_of(plan, micro), micro), micro)
                << "step " << step << " cut " << cut;
  }
}

TEST(DataPlanTest, PositionsShowWhatALoopLeftOutUsedTwiceOrTookFromElsewhere)
{
  const DataPlan plan = plan_of({50, 31}, 9);
  const std::vector<PositionRange> expected = plan.step_positions(StepId(3));
  ASSERT_EQ(expected.size(), 2u);
  const std::vector<std::int64_t> indices = indices_of(plan, expected);
  std::vector<std::int64_t> changed = indices;
  changed.erase(changed.begin() + 1);
  const std::uint64_t begin = expected[0].begin;
  std::vector<PositionRange> found = plan.positions_of(changed, expected);
  EXPECT_EQ(found[0], (PositionRange{0, begin, begin + 1}));
  EXPECT_EQ(found[1], (PositionRange{0, begin + 2, expected[0].end}));
  changed = indices;
  changed.push_back(indices[0]);
  EXPECT_EQ(plan.positions_of(changed, expected).back(), (PositionRange{0, begin, begin + 1}));
  changed = indices_of(plan, {{.part = 0, .begin = expected[0].end, .end = expected[0].end + 2}});
  EXPECT_THAT(plan.positions_of(changed, expected),
              testing::ElementsAre(PositionRange{0, expected[0].end, expected[0].end + 2}));
}

TEST(DataPlanTest, SeedsDifferBySampleStepAndUse)
{
  const DataPlan plan = plan_of({50, 50}, 10);
  std::set<std::uint64_t> seeds;
  for (std::uint64_t i = 0; i < 50; ++i)
  {
    seeds.insert(plan.sample_seed(0, i));
    seeds.insert(plan.sample_seed(1, i));
    seeds.insert(plan.micro_batch_seed(StepId(1), {.part = 0, .begin = i, .end = i + 1}));
    seeds.insert(plan.micro_batch_seed(StepId(2), {.part = 0, .begin = i, .end = i + 1}));
  }
  EXPECT_EQ(seeds.size(), 200u);
}

TEST(DataPlanTest, RefusesWhatCannotBeTrainedOn)
{
  EXPECT_FALSE(DataPlan::create({}).ok());
  EXPECT_FALSE(DataPlan::create({.parts = {{"a", 0}}, .global_batch = 1}).ok());
  EXPECT_FALSE(DataPlan::create({.parts = {{"a", 5}}, .global_batch = 0}).ok());
  const auto small = DataPlan::create({.parts = {{"a", 5}}, .global_batch = 6});
  EXPECT_THAT(std::string(small.status().message()),
              testing::HasSubstr("fewer than one global batch"));
}

TEST(StateTableTest, LayoutIsNamesTypesShapesAndOrder)
{
  std::vector<std::byte> memory(64);
  const MutableByteSpan bytes(memory);
  StateTable a;
  ASSERT_TRUE(a.add({"w", "float", {2, 3}, StateKind::kParameter, bytes.subspan(0, 24)}).ok());
  ASSERT_TRUE(a.add({"m", "float", {2}, StateKind::kOptimizer, bytes.subspan(24, 8)}).ok());
  EXPECT_FALSE(a.add({"w", "float", {1}, StateKind::kBuffer, bytes.subspan(32, 4)}).ok());
  EXPECT_FALSE(a.add({"x", "float", {3}, StateKind::kBuffer, bytes.subspan(32, 4)}).ok());
  StateTable b;
  ASSERT_TRUE(b.add({"w", "float", {3, 2}, StateKind::kParameter, bytes.subspan(0, 24)}).ok());
  ASSERT_TRUE(b.add({"m", "float", {2}, StateKind::kOptimizer, bytes.subspan(24, 8)}).ok());
  EXPECT_NE(a.layout_hash(), b.layout_hash());
  EXPECT_EQ(a.size_bytes(), 32u);
}

}  // namespace
}  // namespace spillway::engine
