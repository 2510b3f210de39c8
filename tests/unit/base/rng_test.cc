// SPDX-License-Identifier: Apache-2.0
#include "spillway/base/rng.h"

#include <gtest/gtest.h>

#include <set>

namespace spillway {
namespace {

// The known-answer vectors that the authors of Philox publish for 10 rounds.
TEST(Philox, MatchesTheKnownAnswers)
{
  EXPECT_EQ(philox4x32({0, 0, 0, 0}, {0, 0}),
            (std::array<std::uint32_t, 4>{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}));
  EXPECT_EQ(philox4x32({0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff}, {0xffffffff, 0xffffffff}),
            (std::array<std::uint32_t, 4>{0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}));
  EXPECT_EQ(philox4x32({0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344}, {0xa4093822, 0x299f31d0}),
            (std::array<std::uint32_t, 4>{0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}));
}

TEST(Rng, OneSeedGivesOneStreamAndBelowStaysBelow)
{
  Rng first(7), second(7), other(8);
  std::set<std::uint64_t> seen;
  for (int i = 0; i < 1000; ++i)
  {
    const std::uint64_t value = first.below(10);
    EXPECT_EQ(value, second.below(10));
    EXPECT_LT(value, 10u);
    seen.insert(value);
  }
  EXPECT_EQ(seen.size(), 10u);
  EXPECT_NE(first.next(), other.next());
}

TEST(Rng, SecureRandomDiffers)
{
  EXPECT_NE(secure_random_u64(), secure_random_u64());
}

}  // namespace
}  // namespace spillway
