// SPDX-License-Identifier: Apache-2.0
// Decoding on vectors. Included once for each instruction set, by simd_coder.cc.
#if defined(SPILLWAY_KERNELS_SIMD_DECODE_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef SPILLWAY_KERNELS_SIMD_DECODE_INL_H_
#undef SPILLWAY_KERNELS_SIMD_DECODE_INL_H_
#else
#define SPILLWAY_KERNELS_SIMD_DECODE_INL_H_
#endif

#include "hwy/highway.h"
#include "simd/encode_inl.h"
#include "tile_coder.h"
#include "tk_record.h"

#if HWY_TARGET != HWY_SCALAR
HWY_BEFORE_NAMESPACE();
namespace spillway::kernels::HWY_NAMESPACE {

using Bytes = hn::Full128<std::uint8_t>;

// sum = weight * value + sum, rounded once.
HWY_INLINE Float weighted(float weight, Float value, Float sum)
{
  return weight == 1.0f ? hn::Add(value, sum) : fused(weight, value, sum);
}

// Adds small integers times `unit`: a product that is exact for every codec.
HWY_INLINE void add_units(const std::int8_t* HWY_RESTRICT units, std::size_t count, float unit,
                          float weight, float* HWY_RESTRICT sums)
{
  const hn::Rebind<std::int8_t, Floats> bytes;
  const Float by = hn::Set(kFloats, unit);
  for (std::size_t i = 0; i < count; i += hn::Lanes(kFloats))
  {
    const auto wide = hn::PromoteTo(kInts, hn::LoadU(bytes, units + i));
    const Float value = hn::Mul(hn::ConvertTo(kFloats, wide), by);
    hn::Store(weighted(weight, value, hn::Load(kFloats, sums + i)), kFloats, sums + i);
  }
}

// The 16 values of four bits, in halves of a scale: Q4's levels are multiples of 1/2.
HWY_ALIGN inline constexpr std::int8_t kQ4Halves[16] = {0, 1,  2,  3,  4,  6,  8,  12,
                                                        0, -1, -2, -3, -4, -6, -8, -12};
// Of the lower and of the upper two of four bits, in sixteenths of a mean.
HWY_ALIGN inline constexpr std::int8_t kQ2First[16] = {9, -9, 32, -32, 9, -9, 32, -32,
                                                       9, -9, 32, -32, 9, -9, 32, -32};
HWY_ALIGN inline constexpr std::int8_t kQ2Second[16] = {9,  9,  9,  9,  -9,  -9,  -9,  -9,
                                                        32, 32, 32, 32, -32, -32, -32, -32};

HWY_INLINE hn::Vec<Bytes> table(const std::int8_t* values)
{
  return hn::Load(Bytes(), reinterpret_cast<const std::uint8_t*>(values));
}

HWY_INLINE void unpack_q4(const std::byte* packed, std::int8_t* units)
{
  const Bytes d;
  auto* const out = reinterpret_cast<std::uint8_t*>(units);
  const auto values = table(kQ4Halves);
  for (std::size_t i = 0; i < 32; i += 16)
  {
    const auto both = hn::LoadU(d, reinterpret_cast<const std::uint8_t*>(packed) + i);
    const auto low = hn::TableLookupBytes(values, hn::And(both, hn::Set(d, 15)));
    const auto high = hn::TableLookupBytes(values, hn::ShiftRight<4>(both));
    hn::Store(hn::InterleaveLower(d, low, high), d, out + 2 * i);
    hn::Store(hn::InterleaveUpper(d, low, high), d, out + 2 * i + 16);
  }
}

HWY_INLINE void unpack_q2(const std::byte* packed, std::int8_t* units)
{
  const Bytes d;
  const hn::Full128<std::uint16_t> pairs;
  auto* const out = reinterpret_cast<std::uint8_t*>(units);
  const auto first = table(kQ2First), second = table(kQ2Second);
  for (std::size_t i = 0; i < 32; i += 16)
  {
    const auto four = hn::LoadU(d, reinterpret_cast<const std::uint8_t*>(packed) + i);
    const auto low = hn::And(four, hn::Set(d, 15)), high = hn::ShiftRight<4>(four);
    const auto v0 = hn::TableLookupBytes(first, low), v1 = hn::TableLookupBytes(second, low);
    const auto v2 = hn::TableLookupBytes(first, high), v3 = hn::TableLookupBytes(second, high);
    const auto a01 = hn::BitCast(pairs, hn::InterleaveLower(d, v0, v1));
    const auto a23 = hn::BitCast(pairs, hn::InterleaveLower(d, v2, v3));
    const auto b01 = hn::BitCast(pairs, hn::InterleaveUpper(d, v0, v1));
    const auto b23 = hn::BitCast(pairs, hn::InterleaveUpper(d, v2, v3));
    std::uint8_t* const at = out + 4 * i;
    hn::Store(hn::BitCast(d, hn::InterleaveLower(pairs, a01, a23)), d, at);
    hn::Store(hn::BitCast(d, hn::InterleaveUpper(pairs, a01, a23)), d, at + 16);
    hn::Store(hn::BitCast(d, hn::InterleaveLower(pairs, b01, b23)), d, at + 32);
    hn::Store(hn::BitCast(d, hn::InterleaveUpper(pairs, b01, b23)), d, at + 48);
  }
}

HWY_INLINE void poison(float* sums, std::size_t count)
{
  const Float nan = hn::BitCast(kFloats, hn::Set(Words(), kCanonicalNan));
  for (std::size_t i = 0; i < count; i += hn::Lanes(kFloats)) hn::Store(nan, kFloats, sums + i);
}

template <CodecId kId, std::size_t kBlock, std::size_t kBits>
HWY_INLINE void add_blocks(const std::byte* scales, const std::byte* codes, float weight,
                           float* sums)
{
  HWY_ALIGN std::int8_t unpacked[128];
  for (std::size_t b = 0; b < kTileElements / kBlock; ++b)
  {
    const std::uint16_t scale = load_u16(scales, b);
    float* const at = sums + b * kBlock;
    if (scale == kPoisonScale)
    {
      poison(at, kBlock);
      continue;
    }
    const std::byte* const block = codes + b * kBlock * kBits / 8;
    const float s = widen_bf16(scale);
    if constexpr (kId == CodecId::kQ8)
    {
      add_units(reinterpret_cast<const std::int8_t*>(block), kBlock, s, weight, at);
    }
    else if constexpr (kId == CodecId::kQ4)
    {
      unpack_q4(block, unpacked);
      add_units(unpacked, kBlock, mul_rn(0.5f, s), weight, at);
    }
    else
    {
      unpack_q2(block, unpacked);
      add_units(unpacked, kBlock, mul_rn(0.0625f, s), weight, at);
    }
  }
}

HWY_INLINE void add_record(const Contribution& from, const Layout& layout, std::uint64_t t,
                           float* sums)
{
  const std::byte* const payload = from.payload.data();
  const TkShape shape = tk_shape(from.codec.id);
  TkRecord record;
  read_tk(shape, tile_of(payload, layout, 0, t), tile_of(payload, layout, 1, t),
          tile_of(payload, layout, 2, t), tile_of(payload, layout, 3, t), record);
  if (record.lower == kPoisonScale) return poison(sums, kTileElements);
  const float lower = widen_bf16(record.lower), upper = widen_bf16(record.upper);
  for (int i = 0; i < shape.kept; ++i)
  {
    float& sum = sums[record.indices[i]];
    sum = fma_rn(from.weight, tk_value(record.codes[i], lower, upper), sum);
  }
}

HWY_INLINE void add_raw(const Contribution& from, const Layout& layout, std::uint64_t t,
                        std::size_t count, float* sums)
{
  const std::byte* const values = tile_of(from.payload.data(), layout, 0, t);
  HWY_ALIGN float wide[kTileElements] = {};
  if (from.codec.id == CodecId::kRaw16)
  {
    for (std::size_t i = 0; i < count; ++i) wide[i] = widen_bf16(load_u16(values, i));
  }
  else
  {
    std::memcpy(wide, values, 4 * count);
  }
  for (std::size_t i = 0; i < count; i += hn::Lanes(kFloats))
  {
    const Float value = hn::Load(kFloats, wide + i);
    hn::Store(weighted(from.weight, value, hn::Load(kFloats, sums + i)), kFloats, sums + i);
  }
}

// Adds one contribution to the sums of a tile, 4096 of them, aligned for vectors.
HWY_INLINE void add_tile(const Contribution& from, const Layout& layout, std::uint64_t t,
                         std::size_t count, float* sums)
{
  const CodecId id = from.codec.id;
  if (is_tk(id)) return add_record(from, layout, t, sums);
  if (id == CodecId::kRaw32 || id == CodecId::kRaw16) return add_raw(from, layout, t, count, sums);
  const std::byte* const scales = tile_of(from.payload.data(), layout, 0, t);
  const std::byte* const codes = tile_of(from.payload.data(), layout, 1, t);
  if (id == CodecId::kQ8)
    add_blocks<CodecId::kQ8, 256, 8>(scales, codes, from.weight, sums);
  else if (id == CodecId::kQ4)
    add_blocks<CodecId::kQ4, 64, 4>(scales, codes, from.weight, sums);
  else
    add_blocks<CodecId::kQ2, 128, 2>(scales, codes, from.weight, sums);
}

// The sums of a whole tile to their place, all NaNs as one.
HWY_INLINE void store_tile(const float* HWY_RESTRICT sums, float* HWY_RESTRICT out)
{
  const Float nan = hn::BitCast(kFloats, hn::Set(Words(), kCanonicalNan));
  const bool aligned = is_aligned(out);
  for (std::size_t i = 0; i < kTileElements; i += hn::Lanes(kFloats))
  {
    const Float sum = hn::Load(kFloats, sums + i);
    store_residual(hn::IfThenElse(hn::IsNaN(sum), nan, sum), out + i, aligned);
  }
}

}  // namespace spillway::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();
#endif  // HWY_SCALAR
#endif
