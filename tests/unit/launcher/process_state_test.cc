// SPDX-License-Identifier: Apache-2.0
#include "spillway/launcher/process_state.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

namespace spillway {
namespace {

TEST(ProcessState, NamesMayHoldParentheses)
{
  EXPECT_EQ(parse_process_state("12 (a) T (b)) S 1 12", "").state, 'S');
}

TEST(ProcessState, StoppedOnlyWithoutATracer)
{
  EXPECT_TRUE(parse_process_state("12 (w) T 1 12", "Name:\tw\nTracerPid:\t0\n").stopped());
  EXPECT_FALSE(parse_process_state("12 (w) T 1 12", "Name:\tw\nTracerPid:\t77\n").stopped());
  EXPECT_FALSE(parse_process_state("12 (w) t 1 12", "TracerPid:\t77\n").stopped())
      << "in a debugger";
  EXPECT_FALSE(parse_process_state("12 (w) S 1 12", "TracerPid:\t0\n").stopped());
}

TEST(ProcessState, TheChildThatStartedAProcess)
{
  EXPECT_EQ(parse_process_state("12 (a b) S 7 12", "").parent, 7);
  EXPECT_EQ(child_that_started(getpid(), getppid()), getpid());
  EXPECT_EQ(child_that_started(getpid(), read_process_state(getppid()).parent), getppid());
  EXPECT_EQ(child_that_started(getpid(), getpid()), getpid()) << "nobody's descendant";
}

TEST(ProcessState, OfNobody)
{
  EXPECT_EQ(parse_process_state("", "").state, 0);
  EXPECT_EQ(read_process_state(0).state, 0);
}

TEST(ProcessState, OfThisProcess)
{
  EXPECT_NE(read_process_state(getpid()).state, 0);
  EXPECT_THAT(describe_threads(getpid()), testing::HasSubstr("thread "));
  EXPECT_THAT(describe_threads(0), testing::HasSubstr("no threads left"));
}

}  // namespace
}  // namespace spillway
