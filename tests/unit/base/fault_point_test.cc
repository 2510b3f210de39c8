// SPDX-License-Identifier: Apache-2.0
#include "spillway/base/fault_point.h"

#include <gtest/gtest.h>

#include <csignal>
#include <cstdlib>

namespace spillway {
namespace {

TEST(FaultPoint, RulesAreChecked)
{
  EXPECT_TRUE(check_fault_rules("vote.cast@step=4@worker=2:kill,apply.before@hit=3:exit=7").ok());
  EXPECT_FALSE(check_fault_rules("vote.caste:kill").ok());
  EXPECT_FALSE(check_fault_rules("vote.cast").ok());
  EXPECT_FALSE(check_fault_rules("vote.cast@stepp=1:kill").ok());
  EXPECT_FALSE(check_fault_rules("vote.cast:explode").ok());
}

TEST(FaultPointDeathTest, KillsAtTheNamedPassageOnly)
{
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  EXPECT_EXIT(
      {
        setenv("SPILLWAY_FAULT", "vote.cast@step=2@hit=3:kill", 1);
        fault_point("vote.cast", {.step = 1});
        fault_point("vote.cast", {.step = 2});
        fault_point("apply.before", {.step = 2});
        fault_point("vote.cast", {.step = 2});
        _exit(0);
      },
      testing::KilledBySignal(SIGKILL), "");
}

}  // namespace
}  // namespace spillway
