// SPDX-License-Identifier: Apache-2.0
#include "rpc/outbox.h"

#include <gtest/gtest.h>

#include <string>

namespace spillway::coordinator {
namespace {

void join_words(std::string& older, std::string& newer)
{
  newer = older + "+" + newer;
}

TEST(Outbox, KeepsTheOrderAndItsBound)
{
  Outbox<std::string> box(2);
  EXPECT_TRUE(box.push("a"));
  EXPECT_TRUE(box.push("b"));
  EXPECT_FALSE(box.push("c")) << "full";
  EXPECT_EQ(box.pop(), "a");
  EXPECT_TRUE(box.push("c"));
  EXPECT_EQ(box.pop(), "b");
  EXPECT_EQ(box.pop(), "c");
  EXPECT_EQ(box.pop(), std::nullopt);
}

TEST(Outbox, ANewerOneOfTheSameKeyTakesThePlaceAlsoWhenFull)
{
  Outbox<std::string> box(2, join_words);
  EXPECT_TRUE(box.push("status 1", 1));
  EXPECT_TRUE(box.push("other"));
  EXPECT_TRUE(box.push("status 2", 1));
  EXPECT_FALSE(box.push("telemetry", 2)) << "another key needs room";
  EXPECT_EQ(box.pop(), "status 1+status 2");
  EXPECT_TRUE(box.push("status 3", 1));
  EXPECT_EQ(box.pop(), "other");
  EXPECT_EQ(box.pop(), "status 3") << "what was written is not taken back";
  box.push("x");
  box.clear();
  EXPECT_TRUE(box.empty());
}

}  // namespace
}  // namespace spillway::coordinator
