// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

#if defined(__CUDACC__)
#define SPILLWAY_HD __host__ __device__
#else
#define SPILLWAY_HD
#include <cmath>
#include <cstring>
#endif

// What happens to one element, for every backend: the arithmetic of SPEC.md §2 to §5 and nothing
// else. Each operation whose bits matter is a function here, so that no compiler may contract,
// approximate or reorder it: device code uses the `_rn` intrinsics, host code is built with
// -ffp-contract=off and without fast-math. Rounding is to nearest, ties to even; subnormals count.
namespace spillway::kernels {

inline constexpr std::uint32_t kSignBit = 0x80000000u;
inline constexpr std::uint32_t kInfinityBits = 0x7F800000u;
inline constexpr std::uint32_t kCanonicalNan = 0x7FC00000u;
inline constexpr std::uint16_t kPoisonScale = 0x7FC0;  // bf16
inline constexpr std::uint16_t kLeastScale = 0x0480;   // bf16 2^-118
inline constexpr std::uint16_t kQ8MostScale = 0x7C01;  // largest bf16 S with 127 * S finite
inline constexpr std::uint16_t kQ4MostScale = 0x7E2A;  // with 6 * S finite
inline constexpr std::uint16_t kMostLevel = 0x7EFF;    // with 2 * S finite
// Below this magnitude (2^-110) a mean of Q2 and TK would meet subnormals: the block is sent as 0.
inline constexpr std::uint32_t kLeastMeanBits = 0x08800000u;

SPILLWAY_HD inline std::uint32_t bits_of(float value)
{
#if defined(__CUDA_ARCH__)
  return __float_as_uint(value);
#else
  std::uint32_t bits;
  memcpy(&bits, &value, sizeof bits);
  return bits;
#endif
}
SPILLWAY_HD inline float float_of(std::uint32_t bits)
{
#if defined(__CUDA_ARCH__)
  return __uint_as_float(bits);
#else
  float value;
  memcpy(&value, &bits, sizeof value);
  return value;
#endif
}

#if defined(__CUDA_ARCH__)
SPILLWAY_HD inline float mul_rn(float a, float b)
{
  return __fmul_rn(a, b);
}
SPILLWAY_HD inline float sub_rn(float a, float b)
{
  return __fsub_rn(a, b);
}
SPILLWAY_HD inline float div_rn(float a, float b)
{
  return __fdiv_rn(a, b);
}
SPILLWAY_HD inline float fma_rn(float a, float b, float c)
{
  return __fmaf_rn(a, b, c);
}
SPILLWAY_HD inline int round_even(float a)
{
  return __float2int_rn(a);
}
#else
SPILLWAY_HD inline float mul_rn(float a, float b)
{
  return a * b;
}
SPILLWAY_HD inline float sub_rn(float a, float b)
{
  return a - b;
}
SPILLWAY_HD inline float div_rn(float a, float b)
{
  return a / b;
}
SPILLWAY_HD inline float fma_rn(float a, float b, float c)
{
  return std::fmaf(a, b, c);
}
SPILLWAY_HD inline int round_even(float a)
{
  return static_cast<int>(std::lrintf(a));
}
#endif

// |value| as an integer: the order of magnitudes is the order of these.
SPILLWAY_HD inline std::uint32_t magnitude_of(float value)
{
  return bits_of(value) & ~kSignBit;
}

SPILLWAY_HD inline float widen_bf16(std::uint16_t bits)
{
  return float_of(static_cast<std::uint32_t>(bits) << 16);
}
SPILLWAY_HD inline float widen_fp16(std::uint16_t bits)
{
  const std::uint32_t sign = (bits & 0x8000u) << 16;
  const std::uint32_t rest = bits & 0x7FFFu;
  if (rest >= 0x7C00u) return float_of(sign | kInfinityBits | (rest & 0x3FFu) << 13);
  // A subnormal is its mantissa times 2^-24, a normal number gets its exponent rebased.
  if (rest < 0x0400u)
    return float_of(sign | bits_of(mul_rn(static_cast<float>(rest), float_of(0x33800000u))));
  return float_of(sign | ((rest << 13) + 0x38000000u));
}

// To nearest, ties to even; `value` is finite. May give infinity.
SPILLWAY_HD inline std::uint16_t bf16_nearest(float value)
{
  const std::uint32_t bits = bits_of(value);
  return static_cast<std::uint16_t>((bits + 0x7FFFu + (bits >> 16 & 1u)) >> 16);
}
// Away from zero; `value` is finite and not negative. May give infinity.
SPILLWAY_HD inline std::uint16_t bf16_up(float value)
{
  return static_cast<std::uint16_t>((bits_of(value) + 0xFFFFu) >> 16);
}

// RAW16: a finite value stays finite, every NaN is one.
SPILLWAY_HD inline std::uint16_t raw16_of(float value)
{
  const std::uint32_t bits = bits_of(value);
  const std::uint32_t magnitude = bits & ~kSignBit;
  if (magnitude > kInfinityBits) return kPoisonScale;
  if (magnitude == kInfinityBits) return static_cast<std::uint16_t>(bits >> 16);
  const std::uint16_t nearest = bf16_nearest(value);
  return (nearest & 0x7FFFu) == 0x7F80u ? static_cast<std::uint16_t>(nearest - 1u) : nearest;
}

SPILLWAY_HD inline bool is_poison(std::uint32_t most_magnitude)
{
  return most_magnitude >= kInfinityBits;
}

// The scale of a block of Q8 (`most_code` 127) or Q4 (6) whose largest magnitude is given.
SPILLWAY_HD inline std::uint16_t scale_of(std::uint32_t most_magnitude, float most_code,
                                          std::uint16_t most_scale)
{
  if (is_poison(most_magnitude)) return kPoisonScale;
  const std::uint16_t scale = bf16_up(div_rn(float_of(most_magnitude), most_code));
  if (scale < kLeastScale) return 0;
  return scale < most_scale ? scale : most_scale;
}
// What elements of a block are multiplied with; 0 where all codes are 0.
SPILLWAY_HD inline float inverse_of(std::uint16_t scale)
{
  return scale == 0 || scale == kPoisonScale ? 0.0f : div_rn(1.0f, widen_bf16(scale));
}

SPILLWAY_HD inline int q8_code(float value, float inverse)
{
  const int code = round_even(mul_rn(value, inverse));
  return code > 127 ? 127 : code < -127 ? -127 : code;
}
SPILLWAY_HD inline float q8_value(int code, float scale)
{
  return mul_rn(static_cast<float>(code), scale);
}

// Sign and the number of the nearest of {0, 0.5, 1, 1.5, 2, 3, 4, 6}; a tie goes to the even
// number.
SPILLWAY_HD inline std::uint32_t q4_code(float value, float inverse)
{
  const float y = mul_rn(float_of(magnitude_of(value)), inverse);
  const std::uint32_t level = static_cast<std::uint32_t>(y > 0.25f) + (y >= 0.75f) + (y > 1.25f) +
                              (y >= 1.75f) + (y > 2.5f) + (y >= 3.5f) + (y > 5.0f);
  return level == 0 ? 0 : level | (bits_of(value) >> 31) << 3;
}
SPILLWAY_HD inline float q4_value(std::uint32_t code, float scale)
{
  // Twice the levels, four bits each.
  const std::uint32_t twice = 0xC8643210u >> ((code & 7u) * 4) & 15u;
  const float level = mul_rn(mul_rn(static_cast<float>(twice), 0.5f), scale);
  return twice == 0 ? level : float_of(bits_of(level) ^ (code & 8u) << 28);
}

// Means of magnitudes that do not depend on an order: each becomes an integer of 16 bits, relative
// to the block's largest, and integers are added.
SPILLWAY_HD inline float mean_factor(std::uint32_t most_magnitude)
{
  return div_rn(65535.0f, float_of(most_magnitude));
}
SPILLWAY_HD inline std::uint32_t mean_part(float value, float factor)
{
  return static_cast<std::uint32_t>(round_even(mul_rn(float_of(magnitude_of(value)), factor)));
}
// The mean of `count` parts that add up to `sum` < 2^24.
SPILLWAY_HD inline std::uint16_t level_of(std::uint32_t sum, std::uint32_t count,
                                          std::uint32_t most_magnitude)
{
  if (count == 0) return 0;
  const float unit = div_rn(float_of(most_magnitude), 65535.0f);
  const float mean = mul_rn(div_rn(static_cast<float>(sum), static_cast<float>(count)), unit);
  const std::uint16_t level = bf16_nearest(mean);
  if (level < kLeastScale) return 0;
  return level < kMostLevel ? level : kMostLevel;
}

// Two bits: the sign, and whether the magnitude is above 1.25 of the block's mean.
SPILLWAY_HD inline std::uint32_t q2_code(float value, float mean)
{
  const bool upper = float_of(magnitude_of(value)) > mul_rn(1.25f, mean);
  return bits_of(value) >> 31 | static_cast<std::uint32_t>(upper) << 1;
}
SPILLWAY_HD inline float q2_value(std::uint32_t code, float mean)
{
  const float level = mul_rn((code & 2u) != 0 ? 2.0f : 0.5625f, mean);
  return float_of(bits_of(level) | (code & 1u) << 31);
}
// Two bits of a kept value of TK: the sign, and which of the two levels.
SPILLWAY_HD inline float tk_value(std::uint32_t code, float lower, float upper)
{
  return float_of(bits_of((code & 2u) != 0 ? upper : lower) | (code & 1u) << 31);
}

// All NaNs are one, on every machine.
SPILLWAY_HD inline float one_nan(float value)
{
  return magnitude_of(value) > kInfinityBits ? float_of(kCanonicalNan) : value;
}
// A decoded value with its peer's weight onto what is there.
SPILLWAY_HD inline float accumulate(float weight, float value, float sum)
{
  return one_nan(fma_rn(weight, value, sum));
}

}  // namespace spillway::kernels
