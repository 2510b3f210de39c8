// SPDX-License-Identifier: Apache-2.0
#include "tk_record.h"

#include <bit>

namespace spillway::kernels {
namespace {

constexpr std::size_t kMostLowBytes = 80;

// The bits [at, at + count) of little-endian bytes, 7 at most.
std::uint32_t bits_at(const std::byte* bytes, std::size_t size, std::size_t at, int count)
{
  std::uint32_t word = std::to_integer<std::uint32_t>(bytes[at / 8]);
  if (at / 8 + 1 < size) word |= std::to_integer<std::uint32_t>(bytes[at / 8 + 1]) << 8;
  return word >> at % 8 & ((1u << count) - 1);
}

}  // namespace

void write_tk(const TkShape& shape, const TkRecord& record, const TkPlaces& places)
{
  std::uint8_t low[kMostLowBytes + 1] = {};
  std::uint8_t high[32] = {};
  std::uint8_t values[32] = {};
  for (int i = 0; i < shape.kept; ++i)
  {
    const std::uint32_t index = record.indices[i];
    const std::size_t bit = static_cast<std::size_t>(i * shape.low_bits);
    const std::uint32_t lower = (index & ((1u << shape.low_bits) - 1)) << bit % 8;
    low[bit / 8] = static_cast<std::uint8_t>(low[bit / 8] | lower);
    low[bit / 8 + 1] = static_cast<std::uint8_t>(low[bit / 8 + 1] | lower >> 8);
    const std::size_t one = (index >> shape.low_bits) + static_cast<std::size_t>(i);
    high[one / 8] = static_cast<std::uint8_t>(high[one / 8] | 1u << one % 8);
    values[i / 4] = static_cast<std::uint8_t>(values[i / 4] | record.codes[i] << i % 4 * 2);
  }
  std::memcpy(places.low, low, shape.low_bytes());
  std::memcpy(places.high, high, shape.high_bytes());
  std::memcpy(places.values, values, shape.value_bytes());
  std::memcpy(places.levels, &record.lower, 2);
  std::memcpy(places.levels + 2, &record.upper, 2);
}

bool read_tk(const TkShape& shape, const std::byte* low, const std::byte* high,
             const std::byte* values, const std::byte* levels, TkRecord& record)
{
  int found = 0;
  int last = -1;
  for (std::size_t byte = 0; byte < shape.high_bytes(); ++byte)
  {
    for (std::uint32_t left = std::to_integer<std::uint32_t>(high[byte]); left != 0;
         left &= left - 1)
    {
      if (found == shape.kept) return false;
      const int one = static_cast<int>(byte * 8) + std::countr_zero(left);
      const int upper = one - found;
      if (upper >= 4096 >> shape.low_bits) return false;
      const std::uint32_t lower = bits_at(
          low, shape.low_bytes(), static_cast<std::size_t>(found * shape.low_bits), shape.low_bits);
      const int index = upper << shape.low_bits | static_cast<int>(lower);
      if (index <= last) return false;
      last = index;
      record.indices[found] = static_cast<std::uint16_t>(index);
      record.codes[found] = static_cast<std::uint8_t>(
          std::to_integer<std::uint32_t>(values[found / 4]) >> found % 4 * 2 & 3u);
      ++found;
    }
  }
  std::memcpy(&record.lower, levels, 2);
  std::memcpy(&record.upper, levels + 2, 2);
  return found == shape.kept;
}

}  // namespace spillway::kernels
