// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "tile_coder.h"

// One tile, block by block, as SPEC.md writes it down. For reading and for comparing with: nothing
// here is fast.
namespace spillway::kernels {

struct TileInReference
{
  float a[kTileElements];        // what is encoded
  float decoded[kTileElements];  // what a receiver will read
  bool poisoned[kTileElements];  // of a block that holds a NaN or an infinity
  std::size_t count = 0;         // elements that exist
  std::uint64_t poisoned_blocks = 0;
};

struct DecodedTile
{
  float values[kTileElements];
  bool sent[kTileElements];  // false for what TK did not keep: such elements are not touched
};

// Writes the parts of tile `t` to the payload of `job`, and fills all but `a` and `count`.
void encode_tile_reference(const EncodeJob& job, std::uint64_t t, TileInReference& tile);

void decode_tile_reference(const Contribution& contribution, const Layout& layout, std::uint64_t t,
                           std::size_t count, DecodedTile& out);

// The largest magnitude of a block, as bits.
std::uint32_t most_magnitude(const float* a, std::size_t count);

// The three kinds of codecs; called by the two above.
void encode_raw(const EncodeJob& job, std::uint64_t t, TileInReference& tile);
void encode_blocks(const EncodeJob& job, std::uint64_t t, TileInReference& tile);
void encode_tk(const EncodeJob& job, std::uint64_t t, TileInReference& tile);
void decode_tk(const Contribution& contribution, const Layout& layout, std::uint64_t t,
               DecodedTile& out);

}  // namespace spillway::kernels
