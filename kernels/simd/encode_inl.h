// SPDX-License-Identifier: Apache-2.0
// The quantising codecs on vectors. Included once for each instruction set, by simd_coder.cc.
#if defined(SPILLWAY_KERNELS_SIMD_ENCODE_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef SPILLWAY_KERNELS_SIMD_ENCODE_INL_H_
#undef SPILLWAY_KERNELS_SIMD_ENCODE_INL_H_
#else
#define SPILLWAY_KERNELS_SIMD_ENCODE_INL_H_
#endif

#include "hwy/highway.h"
#include "tile_coder.h"

#if HWY_TARGET != HWY_SCALAR
HWY_BEFORE_NAMESPACE();
namespace spillway::kernels::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

// All block sizes are multiples of the widest vector, 16 lanes.
using Floats = hn::CappedTag<float, 16>;
using Ints = hn::RebindToSigned<Floats>;
using Words = hn::RebindToUnsigned<Floats>;
using Float = hn::Vec<Floats>;
inline constexpr Floats kFloats{};
inline constexpr Ints kInts{};

// What one tile is made from. All three have 4096 elements.
struct TileSource
{
  const void* values = nullptr;
  const float* residual = nullptr;  // null without error feedback
  float* new_residual = nullptr;
};

// beta * e + x, rounded once, also where the machine has no such instruction.
HWY_INLINE Float fused(float beta, Float e, Float x)
{
#if HWY_NATIVE_FMA
  return hn::MulAdd(hn::Set(kFloats, beta), e, x);
#else
  HWY_ALIGN float of_e[hn::MaxLanes(kFloats)], of_x[hn::MaxLanes(kFloats)];
  hn::Store(e, kFloats, of_e);
  hn::Store(x, kFloats, of_x);
  for (std::size_t i = 0; i < hn::Lanes(kFloats); ++i) of_x[i] = fma_rn(beta, of_e[i], of_x[i]);
  return hn::Load(kFloats, of_x);
#endif
}

template <SourceType kType>
HWY_INLINE Float load_values(const void* values, std::size_t at)
{
  if constexpr (kType == SourceType::kFp32)
  {
    return hn::LoadU(kFloats, static_cast<const float*>(values) + at);
  }
  else
  {
    const hn::Rebind<std::uint16_t, Floats> halves;
    const Words words;
    const auto bits =
        hn::PromoteTo(words, hn::LoadU(halves, static_cast<const std::uint16_t*>(values) + at));
    if constexpr (kType == SourceType::kBf16) return hn::BitCast(kFloats, hn::ShiftLeft<16>(bits));
    // fp16: the exponent is rebased by a product that is exact for subnormals, too.
    const auto rest = hn::ShiftLeft<13>(hn::And(bits, hn::Set(words, 0x7FFFu)));
    const Float finite =
        hn::Mul(hn::BitCast(kFloats, rest), hn::Set(kFloats, float_of(0x77800000u)));
    const auto special = hn::Or(rest, hn::Set(words, kInfinityBits));
    const auto is_special = hn::Gt(hn::BitCast(kInts, rest), hn::Set(kInts, (0x7C00 << 13) - 1));
    const auto magnitude =
        hn::IfThenElse(hn::RebindMask(words, is_special), special, hn::BitCast(words, finite));
    const auto sign = hn::ShiftLeft<16>(hn::And(bits, hn::Set(words, 0x8000u)));
    return hn::BitCast(kFloats, hn::Or(magnitude, sign));
  }
}

template <SourceType kType>
HWY_INLINE void load_tile_as(const TileSource& source, float beta, float* HWY_RESTRICT a)
{
  const std::size_t lanes = hn::Lanes(kFloats);
  for (std::size_t i = 0; i < kTileElements; i += lanes)
  {
    Float x = load_values<kType>(source.values, i);
    if (source.residual != nullptr)
    {
      const Float e = hn::LoadU(kFloats, source.residual + i);
      x = beta == 1.0f ? hn::Add(e, x) : fused(beta, e, x);
    }
    hn::Store(x, kFloats, a + i);
  }
}

// a of a whole tile; `a` is aligned for vectors.
HWY_INLINE void load_tile(SourceType type, const TileSource& source, float beta, float* a)
{
  if (type == SourceType::kFp32)
    load_tile_as<SourceType::kFp32>(source, beta, a);
  else if (type == SourceType::kBf16)
    load_tile_as<SourceType::kBf16>(source, beta, a);
  else
    load_tile_as<SourceType::kFp16>(source, beta, a);
}

HWY_INLINE std::uint32_t most_magnitude(const float* HWY_RESTRICT a, std::size_t count)
{
  // Magnitudes as signed integers have the same order.
  auto most = hn::Zero(kInts);
  const auto mask = hn::Set(kInts, static_cast<std::int32_t>(~kSignBit));
  for (std::size_t i = 0; i < count; i += hn::Lanes(kFloats))
    most = hn::Max(most, hn::And(hn::BitCast(kInts, hn::Load(kFloats, a + i)), mask));
  return static_cast<std::uint32_t>(hn::GetLane(hn::MaxOfLanes(kInts, most)));
}

// Writes past the caches where the memory is aligned for it.
HWY_INLINE void store_residual(Float value, float* at, bool aligned)
{
  if (aligned)
    hn::Stream(value, kFloats, at);
  else
    hn::StoreU(value, kFloats, at);
}
HWY_INLINE bool is_aligned(const float* at)
{
  return reinterpret_cast<std::uintptr_t>(at) % (4 * hn::Lanes(kFloats)) == 0;
}

HWY_INLINE void q8_codes(const float* HWY_RESTRICT a, std::uint16_t scale, std::byte* codes,
                         float* HWY_RESTRICT new_residual)
{
  const hn::Rebind<std::int8_t, Floats> bytes;
  const Float s = hn::Set(kFloats, widen_bf16(scale));
  const Float inverse = hn::Set(kFloats, inverse_of(scale));
  const auto most = hn::Set(kInts, 127), least = hn::Set(kInts, -127);
  const bool aligned = is_aligned(new_residual);
  auto* const out = reinterpret_cast<std::int8_t*>(codes);
  for (std::size_t i = 0; i < 256; i += hn::Lanes(kFloats))
  {
    const Float x = hn::Load(kFloats, a + i);
    const auto code = hn::Min(hn::Max(hn::NearestInt(hn::Mul(x, inverse)), least), most);
    hn::StoreU(hn::DemoteTo(bytes, code), bytes, out + i);
    if (new_residual == nullptr) continue;
    store_residual(hn::Sub(x, hn::Mul(hn::ConvertTo(kFloats, code), s)), new_residual + i, aligned);
  }
}

// Two codes of a byte each into one, `count` bytes in all.
HWY_INLINE void pack_nibbles(const std::uint8_t* HWY_RESTRICT codes, std::size_t count,
                             std::byte* packed)
{
  const hn::Full128<std::uint16_t> pairs;
  const hn::Half<hn::Full128<std::uint8_t>> bytes;
  for (std::size_t i = 0; i < count; i += 16)
  {
    const auto both = hn::BitCast(pairs, hn::Load(hn::Full128<std::uint8_t>(), codes + i));
    const auto low = hn::And(both, hn::Set(pairs, 0x000F));
    const auto joined = hn::Or(low, hn::And(hn::ShiftRight<4>(both), hn::Set(pairs, 0x00F0)));
    const auto packed8 = hn::DemoteTo(bytes, hn::BitCast(hn::Full128<std::int16_t>(), joined));
    hn::StoreU(packed8, bytes, reinterpret_cast<std::uint8_t*>(packed) + i / 2);
  }
}

// y rounded to the levels of Q4: below 1 a multiple of 1/2, else a float with one bit of mantissa.
HWY_INLINE Float q4_round(Float y)
{
  const Words words;
  const auto bits = hn::BitCast(words, y);
  const auto odd = hn::And(hn::ShiftRight<22>(bits), hn::Set(words, 1));
  const auto carried = hn::Add(bits, hn::Add(odd, hn::Set(words, 0x1FFFFFu)));
  const Float above = hn::BitCast(kFloats, hn::And(carried, hn::Set(words, 0xFFC00000u)));
  const Float half = hn::Set(kFloats, 0.5f);
  const Float below = hn::Mul(hn::ConvertTo(kFloats, hn::NearestInt(hn::Add(y, y))), half);
  const Float level = hn::IfThenElse(hn::Lt(y, hn::Set(kFloats, 1.0f)), below, above);
  return hn::Min(level, hn::Set(kFloats, 6.0f));
}

HWY_INLINE void q4_codes(const float* HWY_RESTRICT a, std::uint16_t scale, std::byte* codes,
                         float* HWY_RESTRICT new_residual)
{
  const Words words;
  const hn::Rebind<std::uint8_t, Floats> bytes;
  HWY_ALIGN std::uint8_t unpacked[64];
  const Float s = hn::Set(kFloats, widen_bf16(scale));
  const Float inverse = hn::Set(kFloats, inverse_of(scale));
  const bool aligned = is_aligned(new_residual);
  const Float one = hn::Set(kFloats, 1.0f);
  for (std::size_t i = 0; i < 64; i += hn::Lanes(kFloats))
  {
    const Float x = hn::Load(kFloats, a + i);
    const Float level = q4_round(hn::Mul(hn::Abs(x), inverse));
    // 0.5 is 1; from 1 on exponent and mantissa bit count up from 2.
    const auto large = hn::Sub(hn::ShiftRight<22>(hn::BitCast(words, level)), hn::Set(words, 252));
    const auto small = hn::BitCast(words, hn::NearestInt(hn::Add(level, level)));
    const auto is_small = hn::RebindMask(words, hn::Lt(level, one));
    const auto number = hn::IfThenElse(is_small, small, large);
    const auto is_zero = hn::Eq(number, hn::Zero(words));
    const auto sign = hn::ShiftLeft<3>(hn::ShiftRight<31>(hn::BitCast(words, x)));
    const auto code = hn::Or(number, hn::IfThenZeroElse(is_zero, sign));
    hn::StoreU(hn::DemoteTo(bytes, hn::BitCast(kInts, code)), bytes, unpacked + i);
    if (new_residual == nullptr) continue;
    const Float value = hn::CopySign(hn::Mul(level, s), x);
    const Float decoded =
        hn::IfThenZeroElse(hn::RebindMask(kFloats, is_zero), value);  // +0, never -0
    store_residual(hn::Sub(x, decoded), new_residual + i, aligned);
  }
  pack_nibbles(unpacked, 64, codes);
}

HWY_INLINE std::uint32_t sum_of_parts(const float* HWY_RESTRICT a, float factor)
{
  const Words words;
  auto sum = hn::Zero(words);
  const Float by = hn::Set(kFloats, factor);
  for (std::size_t i = 0; i < 128; i += hn::Lanes(kFloats))
  {
    const Float scaled = hn::Mul(hn::Abs(hn::Load(kFloats, a + i)), by);
    sum = hn::Add(sum, hn::BitCast(words, hn::NearestInt(scaled)));
  }
  return hn::GetLane(hn::SumOfLanes(words, sum));
}

HWY_INLINE void pack_quarters(const std::uint8_t* HWY_RESTRICT codes, std::byte* packed)
{
  const hn::Full128<std::uint32_t> words;
  const hn::Rebind<std::uint8_t, hn::Full128<std::uint32_t>> bytes;
  for (std::size_t i = 0; i < 128; i += 16)
  {
    const auto four = hn::BitCast(words, hn::Load(hn::Full128<std::uint8_t>(), codes + i));
    auto joined = hn::And(four, hn::Set(words, 0x03));
    joined = hn::Or(joined, hn::And(hn::ShiftRight<6>(four), hn::Set(words, 0x0C)));
    joined = hn::Or(joined, hn::And(hn::ShiftRight<12>(four), hn::Set(words, 0x30)));
    joined = hn::Or(joined, hn::And(hn::ShiftRight<18>(four), hn::Set(words, 0xC0)));
    const auto packed4 = hn::DemoteTo(bytes, hn::BitCast(hn::Full128<std::int32_t>(), joined));
    hn::StoreU(packed4, bytes, reinterpret_cast<std::uint8_t*>(packed) + i / 4);
  }
}

HWY_INLINE void q2_codes(const float* HWY_RESTRICT a, std::uint16_t mean, std::byte* codes,
                         float* HWY_RESTRICT new_residual)
{
  const Words words;
  const hn::Rebind<std::uint8_t, Floats> bytes;
  HWY_ALIGN std::uint8_t unpacked[128];
  const float m = widen_bf16(mean);
  const Float threshold = hn::Set(kFloats, mul_rn(1.25f, m));
  const Float low = hn::Set(kFloats, mul_rn(0.5625f, m)), high = hn::Set(kFloats, mul_rn(2.0f, m));
  const bool aligned = is_aligned(new_residual);
  for (std::size_t i = 0; i < 128; i += hn::Lanes(kFloats))
  {
    const Float x = hn::Load(kFloats, a + i);
    const auto upper = hn::Gt(hn::Abs(x), threshold);
    const auto level = hn::IfThenElseZero(hn::RebindMask(words, upper), hn::Set(words, 2));
    const auto code = hn::Or(hn::ShiftRight<31>(hn::BitCast(words, x)), level);
    hn::StoreU(hn::DemoteTo(bytes, hn::BitCast(kInts, code)), bytes, unpacked + i);
    if (new_residual == nullptr) continue;
    const Float decoded = hn::CopySign(hn::IfThenElse(upper, high, low), x);
    store_residual(hn::Sub(x, decoded), new_residual + i, aligned);
  }
  pack_quarters(unpacked, codes);
}

HWY_INLINE std::uint16_t q2_mean(const float* a, std::uint32_t most)
{
  if (most < kLeastMeanBits) return 0;
  return level_of(sum_of_parts(a, mean_factor(most)), 128, most);
}

// One tile of Q8, Q4 or Q2 from `a`; returns its poisoned blocks.
template <CodecId kId, std::size_t kBlock, std::size_t kBits>
HWY_INLINE std::uint64_t encode_blocks(const float* a, const TileSource& source, std::byte* scales,
                                       std::byte* codes)
{
  std::uint64_t poisoned = 0;
  for (std::size_t b = 0; b < kTileElements / kBlock; ++b)
  {
    const float* const block = a + b * kBlock;
    std::byte* const out = codes + b * kBlock * kBits / 8;
    float* const fresh =
        source.new_residual == nullptr ? nullptr : source.new_residual + b * kBlock;
    const std::uint32_t most = most_magnitude(block, kBlock);
    std::uint16_t scale = kPoisonScale;
    if (!is_poison(most))
    {
      scale = kId == CodecId::kQ8   ? scale_of(most, 127.0f, kQ8MostScale)
              : kId == CodecId::kQ4 ? scale_of(most, 6.0f, kQ4MostScale)
                                    : q2_mean(block, most);
    }
    store_u16(scales, b, scale);
    if (scale == 0 || scale == kPoisonScale)
    {
      std::memset(out, 0, kBlock * kBits / 8);
      // Nothing of it was sent: all stays behind, or, poisoned, what was there before.
      if (fresh != nullptr)
        std::memcpy(fresh, scale == 0 ? block : source.residual + b * kBlock, 4 * kBlock);
      poisoned += scale == kPoisonScale ? 1 : 0;
    }
    else if constexpr (kId == CodecId::kQ8)
      q8_codes(block, scale, out, fresh);
    else if constexpr (kId == CodecId::kQ4)
      q4_codes(block, scale, out, fresh);
    else
      q2_codes(block, scale, out, fresh);
  }
  return poisoned;
}

}  // namespace spillway::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();
#endif  // HWY_SCALAR
#endif
