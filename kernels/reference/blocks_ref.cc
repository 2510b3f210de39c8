// SPDX-License-Identifier: Apache-2.0
#include "blocks_ref.h"

#include <algorithm>

#include "spillway/base/check.h"
#include "tk_record.h"

namespace spillway::kernels {
namespace {

constexpr std::size_t kQ8Block = 256;
constexpr std::size_t kQ4Block = 64;
constexpr std::size_t kQ2Block = 128;

// The scale of Q2: the mean magnitude, or 0, or poison.
std::uint16_t mean_of(const float* a, std::uint32_t most)
{
  if (is_poison(most)) return kPoisonScale;
  if (most < kLeastMeanBits) return 0;
  const float factor = mean_factor(most);
  std::uint32_t sum = 0;
  for (std::size_t i = 0; i < kQ2Block; ++i) sum += mean_part(a[i], factor);
  return level_of(sum, kQ2Block, most);
}

void q8_block(const float* a, std::uint16_t scale, std::byte* codes, float* decoded)
{
  const float inverse = inverse_of(scale);
  for (std::size_t i = 0; i < kQ8Block; ++i)
  {
    const int code = scale == kPoisonScale ? 0 : q8_code(a[i], inverse);
    codes[i] = static_cast<std::byte>(code);
    decoded[i] = q8_value(code, widen_bf16(scale));
  }
}

void q4_block(const float* a, std::uint16_t scale, std::byte* codes, float* decoded)
{
  const float inverse = inverse_of(scale);
  for (std::size_t i = 0; i < kQ4Block; i += 2)
  {
    std::uint32_t pair = 0;
    for (std::size_t j = 0; j < 2; ++j)
    {
      const std::uint32_t code = scale == kPoisonScale ? 0 : q4_code(a[i + j], inverse);
      pair |= code << 4 * j;
      decoded[i + j] = q4_value(code, widen_bf16(scale));
    }
    codes[i / 2] = static_cast<std::byte>(pair);
  }
}

void q2_block(const float* a, std::uint16_t mean, std::byte* codes, float* decoded)
{
  const float level = widen_bf16(mean);
  for (std::size_t i = 0; i < kQ2Block; i += 4)
  {
    std::uint32_t four = 0;
    for (std::size_t j = 0; j < 4; ++j)
    {
      const std::uint32_t code = mean == 0 || mean == kPoisonScale ? 0 : q2_code(a[i + j], level);
      four |= code << 2 * j;
      decoded[i + j] = q2_value(code, level);
    }
    codes[i / 4] = static_cast<std::byte>(four);
  }
}

// What the codes of a poisoned block decode to.
void fill_nan(float* decoded, std::size_t count)
{
  std::fill_n(decoded, count, float_of(kCanonicalNan));
}

void decode_block(CodecId id, std::uint16_t scale, const std::byte* codes, std::size_t block,
                  float* decoded)
{
  if (scale == kPoisonScale) return fill_nan(decoded, block);
  const float s = widen_bf16(scale);
  for (std::size_t i = 0; i < block; ++i)
  {
    if (id == CodecId::kQ8)
      decoded[i] = q8_value(static_cast<std::int8_t>(codes[i]), s);
    else if (id == CodecId::kQ4)
      decoded[i] = q4_value(std::to_integer<std::uint32_t>(codes[i / 2]) >> i % 2 * 4 & 15u, s);
    else
      decoded[i] = q2_value(std::to_integer<std::uint32_t>(codes[i / 4]) >> i % 4 * 2 & 3u, s);
  }
}

std::size_t block_of(CodecId id)
{
  return id == CodecId::kQ8 ? kQ8Block : id == CodecId::kQ4 ? kQ4Block : kQ2Block;
}

void decode_raw(const Contribution& contribution, const Layout& layout, std::uint64_t t,
                std::size_t count, float* decoded)
{
  const std::byte* const values = tile_of(contribution.payload.data(), layout, 0, t);
  for (std::size_t i = 0; i < count; ++i)
  {
    if (contribution.codec.id == CodecId::kRaw16)
      decoded[i] = widen_bf16(load_u16(values, i));
    else
      std::memcpy(&decoded[i], values + 4 * i, 4);
  }
}

}  // namespace

std::uint32_t most_magnitude(const float* a, std::size_t count)
{
  std::uint32_t most = 0;
  for (std::size_t i = 0; i < count; ++i) most = std::max(most, magnitude_of(a[i]));
  return most;
}

void encode_blocks(const EncodeJob& job, std::uint64_t t, TileInReference& tile)
{
  const CodecId id = job.input.codec.id;
  const std::size_t block = block_of(id);
  const std::size_t bits = id == CodecId::kQ8 ? 8 : id == CodecId::kQ4 ? 4 : 2;
  std::byte* const scales = tile_of(job.payload, job.layout, 0, t);
  std::byte* const codes = tile_of(job.payload, job.layout, 1, t);
  for (std::size_t b = 0; b < kTileElements / block; ++b)
  {
    const float* const a = tile.a + b * block;
    const std::uint32_t most = most_magnitude(a, block);
    const std::uint16_t scale = id == CodecId::kQ8   ? scale_of(most, 127.0f, kQ8MostScale)
                                : id == CodecId::kQ4 ? scale_of(most, 6.0f, kQ4MostScale)
                                                     : mean_of(a, most);
    store_u16(scales, b, scale);
    std::byte* const out = codes + b * block * bits / 8;
    float* const decoded = tile.decoded + b * block;
    if (id == CodecId::kQ8)
      q8_block(a, scale, out, decoded);
    else if (id == CodecId::kQ4)
      q4_block(a, scale, out, decoded);
    else
      q2_block(a, scale, out, decoded);
    // In a block that is sent as 0 everything stays behind; nobody decodes anything from it.
    if (scale == 0) std::fill_n(decoded, block, 0.0f);
    tile.poisoned_blocks += is_poison(most) ? 1 : 0;
    std::fill_n(tile.poisoned + b * block, block, is_poison(most));
  }
}

void encode_raw(const EncodeJob& job, std::uint64_t t, TileInReference& tile)
{
  std::byte* const values = tile_of(job.payload, job.layout, 0, t);
  for (std::size_t i = 0; i < tile.count; ++i)
  {
    const std::uint32_t magnitude = magnitude_of(tile.a[i]);
    const bool nan = magnitude > kInfinityBits;
    tile.poisoned[i] = is_poison(magnitude);
    tile.poisoned_blocks += tile.poisoned[i] ? 1 : 0;
    if (job.input.codec.id == CodecId::kRaw16)
    {
      const std::uint16_t bits = raw16_of(tile.a[i]);
      store_u16(values, i, bits);
      tile.decoded[i] = widen_bf16(bits);
    }
    else
    {
      const std::uint32_t bits = nan ? kCanonicalNan : bits_of(tile.a[i]);
      std::memcpy(values + 4 * i, &bits, 4);
      tile.decoded[i] = float_of(bits);
    }
  }
}

void encode_tile_reference(const EncodeJob& job, std::uint64_t t, TileInReference& tile)
{
  tile.poisoned_blocks = 0;
  const CodecId id = job.input.codec.id;
  if (id == CodecId::kRaw32 || id == CodecId::kRaw16) return encode_raw(job, t, tile);
  if (is_tk(id)) return encode_tk(job, t, tile);
  encode_blocks(job, t, tile);
}

void decode_tile_reference(const Contribution& contribution, const Layout& layout, std::uint64_t t,
                           std::size_t count, DecodedTile& out)
{
  const CodecId id = contribution.codec.id;
  if (is_tk(id)) return decode_tk(contribution, layout, t, out);
  std::fill_n(out.sent, kTileElements, true);
  if (id == CodecId::kRaw32 || id == CodecId::kRaw16)
    return decode_raw(contribution, layout, t, count, out.values);
  const std::size_t block = block_of(id);
  const std::size_t bits = id == CodecId::kQ8 ? 8 : id == CodecId::kQ4 ? 4 : 2;
  const std::byte* const scales = tile_of(contribution.payload.data(), layout, 0, t);
  const std::byte* const codes = tile_of(contribution.payload.data(), layout, 1, t);
  for (std::size_t b = 0; b < kTileElements / block; ++b)
  {
    decode_block(id, load_u16(scales, b), codes + b * block * bits / 8, block,
                 out.values + b * block);
  }
}

}  // namespace spillway::kernels
