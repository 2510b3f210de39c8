// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>

#include "element.h"
#include "spillway/kernels/coder.h"

// What a backend does: a run of tiles, from checked arguments. encode() and decode() check, divide
// the tiles among threads and call one of these.
namespace spillway::kernels {

struct EncodeJob
{
  EncodeInput input;
  Layout layout;
  std::byte* payload = nullptr;
};

struct DecodeJob
{
  absl::Span<const Contribution> contributions;
  absl::Span<const Layout> layouts;  // one for each contribution
  absl::Span<float> out;
  bool add = false;
};

struct TileRange
{
  std::uint64_t begin = 0;
  std::uint64_t end = 0;
};

struct TileCoder
{
  std::uint64_t (*encode)(const EncodeJob&, TileRange);  // returns what was poisoned
  void (*decode)(const DecodeJob&, TileRange);
};
const TileCoder& reference_coder();
const TileCoder& simd_coder();

// Elements of tile `tile` that exist: 4096, less in the last.
inline std::size_t elements_in(std::uint64_t tile, std::uint64_t elements)
{
  const std::uint64_t left = elements - tile * kTileElements;
  return static_cast<std::size_t>(left < kTileElements ? left : kTileElements);
}

template <typename Byte>
Byte* tile_of(Byte* payload, const Layout& layout, int section, std::uint64_t tile)
{
  const Section& at = layout.sections[static_cast<std::size_t>(section)];
  return payload + at.offset_bytes + tile * at.tile_bytes;
}

inline void store_u16(std::byte* at, std::size_t index, std::uint16_t value)
{
  std::memcpy(at + 2 * index, &value, 2);
}
inline std::uint16_t load_u16(const std::byte* at, std::size_t index)
{
  std::uint16_t value;
  std::memcpy(&value, at + 2 * index, 2);
  return value;
}

}  // namespace spillway::kernels
