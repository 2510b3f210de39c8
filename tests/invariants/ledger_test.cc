// SPDX-License-Identifier: Apache-2.0
#include "ledger.h"

#include <gtest/gtest.h>

namespace spillway::invariants {
namespace {

StateName name(std::uint64_t number, std::uint64_t step)
{
  return {Number(number), StepId(step)};
}

// Two workers in number 1, both holding step 0 with hash 7; a step covers positions 0 to 10.
class LedgerTest : public ::testing::Test
{
 protected:
  LedgerTest()
  {
    for (const WorkerId worker : {a_, b_})
    {
      ledger_.activated(worker, Number(1), name(1, 0));
      ledger_.obtained(worker, name(1, 0), 7);
    }
  }
  void reduce(WorkerId worker, StateName step, std::uint64_t hash, StateName parent,
              std::uint64_t parent_hash)
  {
    ledger_.reduced(worker, step, hash, parent, parent_hash,
                    {{a_, parent_hash, {{0, 0, 5}}}, {b_, parent_hash, {{0, 5, 10}}}});
  }
  void expect(std::vector<Invariant> wanted)
  {
    std::vector<Invariant> got;
    for (const Finding& finding : ledger_.findings()) got.push_back(finding.invariant);
    EXPECT_EQ(got, wanted);
  }

  const WorkerId a_{1}, b_{2};
  Ledger ledger_{{{0, 0, 10}}};
};

TEST_F(LedgerTest, AcceptsARunWithoutAFlaw)
{
  for (const WorkerId worker : {a_, b_}) reduce(worker, name(1, 1), 8, name(1, 0), 7);
  for (const WorkerId worker : {a_, b_}) ledger_.applied(worker, name(1, 1), 8);
  ledger_.fault();
  ledger_.died(b_);
  ledger_.aborted(Number(2));
  ledger_.formed(Number(2), name(1, 1));
  ledger_.activated(a_, Number(2), name(1, 1));
  expect({});
}

TEST_F(LedgerTest, SeesTwoStatesUnderOneName)
{
  reduce(a_, name(1, 1), 8, name(1, 0), 7);
  reduce(b_, name(1, 1), 9, name(1, 0), 7);
  expect({Invariant::kEqualStates});
}

TEST_F(LedgerTest, SeesAShareComputedFromAnotherState)
{
  ledger_.reduced(a_, name(1, 1), 8, name(1, 0), 7, {{a_, 7, {{0, 0, 5}}}, {b_, 6, {{0, 5, 10}}}});
  expect({Invariant::kEqualStates});
}

TEST_F(LedgerTest, SeesAPositionSkippedAndOneDoubled)
{
  ledger_.reduced(a_, name(1, 1), 8, name(1, 0), 7, {{a_, 7, {{0, 0, 4}}}, {b_, 7, {{0, 5, 10}}}});
  ledger_.reduced(b_, name(1, 1), 8, name(1, 0), 7, {{a_, 7, {{0, 0, 6}}}, {b_, 7, {{0, 5, 10}}}});
  expect({Invariant::kExactlyOnce, Invariant::kExactlyOnce});
}

TEST_F(LedgerTest, SeesAnAppliedStepThrownAwayOnlyWhileItsHolderLives)
{
  reduce(b_, name(1, 1), 8, name(1, 0), 7);
  ledger_.applied(b_, name(1, 1), 8);
  ledger_.formed(Number(2), name(1, 0));
  expect({Invariant::kNothingUndone});
  ledger_.died(b_);
  ledger_.formed(Number(3), name(1, 0));
  EXPECT_EQ(ledger_.findings().size(), 1u);
}

TEST_F(LedgerTest, SeesTwoLineages)
{
  ledger_.fault();
  ledger_.formed(Number(2), name(1, 0));
  ledger_.activated(b_, Number(2), name(1, 0));
  reduce(b_, name(2, 1), 9, name(1, 0), 7);
  ledger_.applied(b_, name(2, 1), 9);
  reduce(a_, name(1, 1), 8, name(1, 0), 7);
  ledger_.applied(a_, name(1, 1), 8);
  expect({Invariant::kOneLineage});
}

TEST_F(LedgerTest, SeesTwoBasesOfOneNumber)
{
  ledger_.activated(a_, Number(2), name(1, 0));
  ledger_.activated(b_, Number(2), name(1, 1));
  expect({Invariant::kOneLineage});
}

TEST_F(LedgerTest, SeesMembersTwoStepsApart)
{
  reduce(a_, name(1, 1), 8, name(1, 0), 7);
  ledger_.applied(a_, name(1, 1), 8);
  reduce(a_, name(1, 2), 9, name(1, 1), 8);
  ledger_.applied(a_, name(1, 2), 9);
  expect({Invariant::kOneStepApart});
}

TEST_F(LedgerTest, SeesANumberReusedAndAnAbortForNothing)
{
  ledger_.published(Number(4), 1);
  ledger_.published(Number(4), 1);
  ledger_.published(Number(4), 2);
  ledger_.aborted(Number(5));
  expect({Invariant::kNumbersUnique, Invariant::kNoNeedlessAbort});
}

TEST(CoverTest, CountsWhatIsMissingDoubledAndForeign)
{
  const std::vector<Range> wanted = {{0, 0, 10}, {1, 0, 4}};
  EXPECT_TRUE(cover({{1, 0, 4}, {0, 5, 10}, {0, 0, 5}}, wanted).exact());
  const Coverage coverage = cover({{0, 0, 6}, {0, 4, 9}, {1, 2, 6}}, wanted);
  EXPECT_EQ(coverage.missing, 1u + 2u);
  EXPECT_EQ(coverage.doubled, 2u);
  EXPECT_EQ(coverage.foreign, 2u);
  EXPECT_EQ(cover({{0, 0, 10}, {0, 2, 3}, {1, 0, 4}}, wanted).doubled, 1u);
}

}  // namespace
}  // namespace spillway::invariants
