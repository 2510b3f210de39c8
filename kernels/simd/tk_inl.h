// SPDX-License-Identifier: Apache-2.0
// TK on vectors: the k largest of 4096 without sorting them. Included once for each instruction
// set, by simd_coder.cc.
#if defined(SPILLWAY_KERNELS_SIMD_TK_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef SPILLWAY_KERNELS_SIMD_TK_INL_H_
#undef SPILLWAY_KERNELS_SIMD_TK_INL_H_
#else
#define SPILLWAY_KERNELS_SIMD_TK_INL_H_
#endif

#include <algorithm>
#include <bit>
#include <numeric>

#include "hwy/highway.h"
#include "simd/encode_inl.h"
#include "tk_record.h"

#if HWY_TARGET != HWY_SCALAR
HWY_BEFORE_NAMESPACE();
namespace spillway::kernels::HWY_NAMESPACE {

// Candidates that are few enough to be ranked one by one.
inline constexpr std::size_t kMostCandidates = 512;

HWY_INLINE std::size_t count_at_least(const std::int32_t* HWY_RESTRICT magnitudes,
                                      std::int32_t bound)
{
  auto count = hn::Zero(kInts);
  const auto below = hn::Set(kInts, bound - 1);
  for (std::size_t i = 0; i < kTileElements; i += hn::Lanes(kInts))
  {
    const auto above = hn::Gt(hn::Load(kInts, magnitudes + i), below);
    count = hn::Sub(count, hn::VecFromMask(kInts, above));  // a true lane is -1
  }
  return static_cast<std::size_t>(hn::GetLane(hn::SumOfLanes(kInts, count)));
}

// A bound that at least `kept` magnitudes reach and, if ties allow it, few more. Starts at `guess`
// and halves the interval; the guess decides about time only.
HWY_INLINE std::int32_t find_bound(const std::int32_t* magnitudes, std::size_t kept,
                                   std::int32_t most, std::int32_t guess)
{
  std::int32_t low = 0, high = most;  // `low` is reached by enough, above `high` nobody is
  std::int32_t at = std::clamp(guess, low, high);
  while (low < high)
  {
    const std::size_t count = count_at_least(magnitudes, at);
    if (count >= kept && count <= kMostCandidates) return at;
    if (count >= kept)
      low = at;
    else
      high = at - 1;
    at = low + (high - low + 1) / 2;
  }
  return low;
}

struct Candidates
{
  // Room for a whole vector behind the last one.
  HWY_ALIGN std::int32_t magnitudes[kTileElements + 16];
  HWY_ALIGN std::int32_t indices[kTileElements + 16];
  // Magnitude, then the index from behind: the order of keys is the order of preference.
  std::uint64_t keys[kTileElements];
  std::size_t count = 0;
};

HWY_INLINE void collect(const std::int32_t* HWY_RESTRICT magnitudes, std::int32_t bound,
                        Candidates& out)
{
  const auto below = hn::Set(kInts, bound - 1);
  auto index = hn::Iota(kInts, 0);
  const auto step = hn::Set(kInts, static_cast<std::int32_t>(hn::Lanes(kInts)));
  std::size_t count = 0;
  for (std::size_t i = 0; i < kTileElements; i += hn::Lanes(kInts))
  {
    const auto values = hn::Load(kInts, magnitudes + i);
    const auto above = hn::Gt(values, below);
    if (!hn::AllFalse(kInts, above))
    {
      // In registers: compressing into memory is slow on some processors.
      hn::StoreU(hn::Compress(values, above), kInts, out.magnitudes + count);
      hn::StoreU(hn::Compress(index, above), kInts, out.indices + count);
      count += hn::CountTrue(kInts, above);
    }
    index = hn::Add(index, step);
  }
  for (std::size_t i = 0; i < count; ++i)
  {
    out.keys[i] = static_cast<std::uint64_t>(out.magnitudes[i]) << 12 |
                  static_cast<std::uint64_t>(4095 - out.indices[i]);
  }
  out.count = count;
}

// Fills record.indices; `guess` is the bound of the tile before and becomes this one's.
HWY_INLINE void select_largest(const float* HWY_RESTRICT a, int kept, std::uint32_t most,
                               std::int32_t& guess, TkRecord& record)
{
  HWY_ALIGN std::int32_t magnitudes[kTileElements];
  const auto mask = hn::Set(kInts, static_cast<std::int32_t>(~kSignBit));
  for (std::size_t i = 0; i < kTileElements; i += hn::Lanes(kInts))
  {
    const auto bits = hn::BitCast(kInts, hn::Load(kFloats, a + i));
    hn::Store(hn::And(bits, mask), kInts, magnitudes + i);
  }
  const auto wanted = static_cast<std::size_t>(kept);
  Candidates found;
  collect(magnitudes, find_bound(magnitudes, wanted, static_cast<std::int32_t>(most), guess),
          found);
  std::nth_element(found.keys, found.keys + wanted - 1, found.keys + found.count,
                   std::greater<std::uint64_t>());
  std::uint64_t chosen[kTileElements / 64] = {};
  for (std::size_t i = 0; i < wanted; ++i)
  {
    const std::uint64_t index = 4095 - (found.keys[i] & 4095);
    chosen[index / 64] |= std::uint64_t{1} << index % 64;
  }
  // A little below the last one kept: the next tile is likely to have enough above that.
  guess = static_cast<std::int32_t>(found.keys[wanted - 1] >> 12) - (1 << 21);
  std::size_t place = 0;
  for (std::size_t word = 0; word < kTileElements / 64; ++word)
  {
    for (std::uint64_t left = chosen[word]; left != 0; left &= left - 1)
      record.indices[place++] =
          static_cast<std::uint16_t>(word * 64 + static_cast<std::size_t>(std::countr_zero(left)));
  }
}

// Codes and levels of the kept elements, as the reference has them.
HWY_INLINE void choose_levels(const float* a, int kept, std::uint32_t most, TkRecord& record)
{
  const float factor = mean_factor(most);
  std::uint32_t parts[kMostKept];
  std::uint32_t sum = 0, upper_sum = 0, upper_count = 0;
  for (int i = 0; i < kept; ++i) sum += parts[i] = mean_part(a[record.indices[i]], factor);
  for (int i = 0; i < kept; ++i)
  {
    const std::uint32_t upper = parts[i] * static_cast<std::uint32_t>(kept) > sum ? 1 : 0;
    upper_sum += upper * parts[i];
    upper_count += upper;
    record.codes[i] = static_cast<std::uint8_t>(bits_of(a[record.indices[i]]) >> 31 | upper << 1);
  }
  record.lower = level_of(sum - upper_sum, static_cast<std::uint32_t>(kept) - upper_count, most);
  record.upper = level_of(upper_sum, upper_count, most);
}

// One tile; returns whether it is poisoned. `guess` is carried from tile to tile. With error
// feedback `a` becomes the residual.
HWY_INLINE bool encode_record(float* a, const TileSource& source, const TkShape& shape,
                              std::int32_t& guess, const TkPlaces& places)
{
  TkRecord record;
  const std::uint32_t most = most_magnitude(a, kTileElements);
  const bool empty = is_poison(most) || most < kLeastMeanBits;
  if (empty)
  {
    std::iota(record.indices, record.indices + shape.kept, std::uint16_t{0});
    std::fill_n(record.codes, shape.kept, std::uint8_t{0});
    record.lower = record.upper = is_poison(most) ? kPoisonScale : 0;
  }
  else
  {
    select_largest(a, shape.kept, most, guess, record);
    choose_levels(a, shape.kept, most, record);
  }
  write_tk(shape, record, places);
  if (source.new_residual == nullptr) return is_poison(most);
  if (!empty)
  {
    const float lower = widen_bf16(record.lower), upper = widen_bf16(record.upper);
    for (int i = 0; i < shape.kept; ++i)
    {
      float& left = a[record.indices[i]];
      left = sub_rn(left, tk_value(record.codes[i], lower, upper));
    }
  }
  const float* const left = is_poison(most) ? source.residual : a;
  const bool aligned = is_aligned(source.new_residual);
  for (std::size_t i = 0; i < kTileElements; i += hn::Lanes(kFloats))
    store_residual(hn::LoadU(kFloats, left + i), source.new_residual + i, aligned);
  return is_poison(most);
}

}  // namespace spillway::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();
#endif  // HWY_SCALAR
#endif
