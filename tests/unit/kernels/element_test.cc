// SPDX-License-Identifier: Apache-2.0
#include "element.h"

#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <limits>

#include "inputs.h"

// The claims of SPEC.md about single elements, on all inputs where that is possible.
namespace spillway::kernels {
namespace {

constexpr float kLargest = std::numeric_limits<float>::max();

TEST(Scale, TheLargestAreThoseWhoseProductsStayFinite)
{
  const auto last_finite = [](float most_code) {
    std::uint16_t last = 0;
    for (std::uint32_t scale = 0; scale < 0x7F80; ++scale)
    {
      if (std::isfinite(most_code * widen_bf16(static_cast<std::uint16_t>(scale))))
        last = static_cast<std::uint16_t>(scale);
    }
    return last;
  };
  EXPECT_EQ(last_finite(127), kQ8MostScale);
  EXPECT_EQ(last_finite(6), kQ4MostScale);
  EXPECT_EQ(last_finite(2), kMostLevel);
  EXPECT_EQ(widen_bf16(kLeastScale), 0x1p-118f);
  EXPECT_EQ(float_of(kLeastMeanBits), 0x1p-110f);
}

// |code| * scale <= the block's largest magnitude * (1 + 2^-7): no code is clamped but at the cap.
TEST(Scale, IsTheLeastThatCoversTheBlock)
{
  for (std::uint32_t high = 0x0880; high < 0x7F80; ++high)
  {
    for (const std::uint32_t low : {0u, 1u, 0x7FFFu, 0x8000u, 0xFFFFu})
    {
      const std::uint32_t most = high << 16 | low;
      const std::uint16_t scale = scale_of(most, 127.0f, kQ8MostScale);
      ASSERT_GE(scale, kLeastScale);
      const double exact = static_cast<double>(float_of(most) / 127.0f);
      if (scale == kQ8MostScale) continue;
      ASSERT_GE(static_cast<double>(widen_bf16(scale)), exact);
      ASSERT_LT(static_cast<double>(widen_bf16(static_cast<std::uint16_t>(scale - 1))), exact);
    }
  }
  EXPECT_EQ(scale_of(0, 127.0f, kQ8MostScale), 0);
  EXPECT_EQ(scale_of(bits_of(0x1p-118f), 127.0f, kQ8MostScale), 0);
  EXPECT_EQ(scale_of(bits_of(kLargest), 127.0f, kQ8MostScale), kQ8MostScale);
  EXPECT_EQ(scale_of(kInfinityBits, 127.0f, kQ8MostScale), kPoisonScale);
  EXPECT_EQ(scale_of(0x7F800001u, 6.0f, kQ4MostScale), kPoisonScale);
}

TEST(Products, AllCodesTimesAllScalesAreExact)
{
  std::uint64_t checked = 0;
  for (std::uint32_t scale = kLeastScale; scale <= kQ4MostScale; ++scale)
  {
    const float s = widen_bf16(static_cast<std::uint16_t>(scale));
    for (int code = -127; code <= 127 && scale <= kQ8MostScale; ++code, ++checked)
    {
      ASSERT_EQ(static_cast<double>(q8_value(code, s)), static_cast<double>(code) * s)
          << code << " * " << s;
    }
    constexpr double kLevels[] = {0, 0.5, 1, 1.5, 2, 3, 4, 6};
    for (std::uint32_t code = 0; code < 16; ++code, ++checked)
    {
      const double level = code < 8 ? kLevels[code] : -kLevels[code - 8];
      ASSERT_EQ(static_cast<double>(q4_value(code, s)), level * s) << code << " * " << s;
    }
  }
  for (std::uint32_t mean = kLeastScale; mean <= kMostLevel; ++mean)
  {
    const float m = widen_bf16(static_cast<std::uint16_t>(mean));
    ASSERT_EQ(static_cast<double>(q2_value(0, m)), 0.5625 * m);
    ASSERT_EQ(static_cast<double>(q2_value(3, m)), -2.0 * m);
    ASSERT_EQ(static_cast<double>(mul_rn(1.25f, m)), 1.25 * m) << "the threshold";
  }
  EXPECT_GT(checked, 7'000'000);
}

TEST(Q8, RoundsTiesToEven)
{
  EXPECT_EQ(q8_code(0.5f, 1.0f), 0);
  EXPECT_EQ(q8_code(1.5f, 1.0f), 2);
  EXPECT_EQ(q8_code(-2.5f, 1.0f), -2);
  EXPECT_EQ(q8_code(126.5f, 1.0f), 126);
  EXPECT_EQ(q8_code(127.9f, 1.0f), 127);
  EXPECT_EQ(q8_code(-127.9f, 1.0f), -127);
}

TEST(Q4, GoesToTheNearestLevelAndAtATieToTheEvenNumber)
{
  constexpr float kLevels[] = {0, 0.5f, 1, 1.5f, 2, 3, 4, 6};
  for (int i = 0; i < 7; ++i)
  {
    const float tie = (kLevels[i] + kLevels[i + 1]) / 2;
    EXPECT_EQ(q4_code(tie, 1.0f), i % 2 == 0 ? i : i + 1) << tie;
    EXPECT_EQ(q4_code(std::nextafter(tie, 0.0f), 1.0f), i);
    EXPECT_EQ(q4_code(std::nextafter(tie, 9.0f), 1.0f), i + 1);
  }
  EXPECT_EQ(q4_code(6.4f, 1.0f), 7);
  EXPECT_EQ(q4_code(-3.0f, 1.0f), 8 + 5);
  EXPECT_EQ(q4_code(-0.1f, 1.0f), 0) << "0 has one name";
  EXPECT_EQ(bits(q4_value(8, 2.0f)), bits(0.0f));
}

TEST(Q2, TheUpperLevelIsForWhatIsAboveTheThreshold)
{
  EXPECT_EQ(q2_code(1.25f, 1.0f), 0);
  EXPECT_EQ(q2_code(std::nextafter(1.25f, 2.0f), 1.0f), 2);
  EXPECT_EQ(q2_code(-3.0f, 1.0f), 3);
  EXPECT_EQ(q2_code(-0.0f, 1.0f), 1);
}

TEST(Widening, IsExactForAllInputs)
{
  for (std::uint32_t half = 0; half < 0x10000; ++half)
  {
    const auto value = static_cast<std::uint16_t>(half);
    EXPECT_EQ(bits(widen_bf16(value)), half << 16);
    const double sign = half >> 15 ? -1 : 1;
    const int exponent = half >> 10 & 31, mantissa = half & 1023;
    const float wide = widen_fp16(value);
    if (exponent == 31)
    {
      EXPECT_EQ(std::isinf(wide), mantissa == 0);
      EXPECT_EQ(std::isnan(wide), mantissa != 0);
      continue;
    }
    const double magnitude =
        exponent == 0 ? std::ldexp(mantissa, -24) : std::ldexp(1024 + mantissa, exponent - 25);
    ASSERT_EQ(static_cast<double>(wide), sign * magnitude) << half;
    ASSERT_EQ(std::signbit(wide), half >> 15 != 0);
  }
}

TEST(Raw16, IsNearestAndStaysFinite)
{
  EXPECT_EQ(raw16_of(1.0f), 0x3F80);
  EXPECT_EQ(raw16_of(std::bit_cast<float>(0x3F808000u)), 0x3F80) << "a tie goes to even";
  EXPECT_EQ(raw16_of(std::bit_cast<float>(0x3F818000u)), 0x3F82);
  EXPECT_EQ(raw16_of(kLargest), 0x7F7F);
  EXPECT_EQ(raw16_of(-kLargest), 0xFF7F);
  EXPECT_EQ(raw16_of(-INFINITY), 0xFF80);
  EXPECT_EQ(raw16_of(-std::nanf("")), kPoisonScale);
}

TEST(Accumulate, EveryNanIsTheSame)
{
  EXPECT_EQ(bits(accumulate(1.0f, INFINITY, -INFINITY)), kCanonicalNan);
  EXPECT_EQ(bits(accumulate(1.0f, std::bit_cast<float>(0xFFC01234u), 0.0f)), kCanonicalNan);
  EXPECT_EQ(accumulate(0.5f, 3.0f, 1.0f), 2.5f);
}

}  // namespace
}  // namespace spillway::kernels
