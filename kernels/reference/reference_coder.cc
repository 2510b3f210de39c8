// SPDX-License-Identifier: Apache-2.0
#include "blocks_ref.h"

namespace spillway::kernels {
namespace {

// a = beta * residual + value of one tile; zeros behind the last element.
void load_tile(const EncodeInput& input, std::uint64_t tile, float* a)
{
  const std::uint64_t first = tile * kTileElements;
  const std::size_t count = elements_in(tile, input.elements);
  for (std::size_t i = 0; i < count; ++i)
  {
    const std::uint64_t at = first + i;
    switch (input.type)
    {
      case SourceType::kFp32:
        a[i] = static_cast<const float*>(input.values)[at];
        break;
      case SourceType::kBf16:
        a[i] = widen_bf16(static_cast<const std::uint16_t*>(input.values)[at]);
        break;
      case SourceType::kFp16:
        a[i] = widen_fp16(static_cast<const std::uint16_t*>(input.values)[at]);
        break;
    }
    if (!input.residual.empty()) a[i] = fma_rn(input.beta, input.residual[at], a[i]);
  }
  for (std::size_t i = count; i < kTileElements; ++i) a[i] = 0.0f;
}

std::uint64_t encode_tiles(const EncodeJob& job, TileRange tiles)
{
  const EncodeInput& input = job.input;
  std::uint64_t poisoned = 0;
  TileInReference tile;
  for (std::uint64_t t = tiles.begin; t < tiles.end; ++t)
  {
    load_tile(input, t, tile.a);
    tile.count = elements_in(t, input.elements);
    encode_tile_reference(job, t, tile);
    poisoned += tile.poisoned_blocks;
    if (input.new_residual.empty()) continue;
    for (std::size_t i = 0; i < tile.count; ++i)
    {
      const std::uint64_t at = t * kTileElements + i;
      input.new_residual[at] =
          tile.poisoned[i] ? input.residual[at] : sub_rn(tile.a[i], tile.decoded[i]);
    }
  }
  return poisoned;
}

void decode_tiles(const DecodeJob& job, TileRange tiles)
{
  DecodedTile decoded;
  for (std::uint64_t t = tiles.begin; t < tiles.end; ++t)
  {
    const std::size_t count = elements_in(t, job.out.size());
    float* const out = job.out.data() + t * kTileElements;
    for (std::size_t i = 0; i < count; ++i) out[i] = job.add ? one_nan(out[i]) : 0.0f;
    for (std::size_t c = 0; c < job.contributions.size(); ++c)
    {
      decode_tile_reference(job.contributions[c], job.layouts[c], t, count, decoded);
      for (std::size_t i = 0; i < count; ++i)
      {
        if (!decoded.sent[i]) continue;
        out[i] = accumulate(job.contributions[c].weight, decoded.values[i], out[i]);
      }
    }
  }
}

}  // namespace

const TileCoder& reference_coder()
{
  static constexpr TileCoder kCoder{encode_tiles, decode_tiles};
  return kCoder;
}

}  // namespace spillway::kernels
