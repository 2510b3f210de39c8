// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>

#include "spillway/kernels/codec.h"

// The record of one tile of TK32, TK64 or TK128: SPEC.md §6. K indices in ascending order by
// Elias–Fano: `low` has the lower bits of each, `high` one bit for each at (upper bits + its
// place).
namespace spillway::kernels {

struct TkShape
{
  int kept = 64;
  int low_bits = 6;
  std::size_t low_bytes() const { return static_cast<std::size_t>(kept * low_bits / 8); }
  std::size_t high_bytes() const { return static_cast<std::size_t>(kept + (4096 >> low_bits)) / 8; }
  std::size_t value_bytes() const { return static_cast<std::size_t>(kept / 4); }
};
inline constexpr int kMostKept = 128;

constexpr bool is_tk(CodecId id)
{
  return id == CodecId::kTk32 || id == CodecId::kTk64 || id == CodecId::kTk128;
}
constexpr TkShape tk_shape(CodecId id)
{
  return id == CodecId::kTk32   ? TkShape{32, 7}
         : id == CodecId::kTk64 ? TkShape{64, 6}
                                : TkShape{128, 5};
}

struct TkRecord
{
  std::uint16_t indices[kMostKept];  // ascending
  std::uint8_t codes[kMostKept];     // sign, level << 1
  std::uint16_t lower = 0;           // bf16
  std::uint16_t upper = 0;
};

struct TkPlaces
{
  std::byte* low;
  std::byte* high;
  std::byte* values;
  std::byte* levels;
};

void write_tk(const TkShape& shape, const TkRecord& record, const TkPlaces& places);
// False for bytes that are no record: not K indices, or not in strictly ascending order. Reads
// nothing but the four parts, whatever they hold.
bool read_tk(const TkShape& shape, const std::byte* low, const std::byte* high,
             const std::byte* values, const std::byte* levels, TkRecord& record);

}  // namespace spillway::kernels
