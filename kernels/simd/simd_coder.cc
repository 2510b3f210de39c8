// SPDX-License-Identifier: Apache-2.0
// The vector backend, compiled once for each instruction set; the best one is chosen when it runs.
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "simd/simd_coder.cc"
#include "hwy/foreach_target.h"
//
#include "hwy/cache_control.h"
#include "hwy/highway.h"
#include "simd/decode_inl.h"
#include "simd/encode_inl.h"
#include "simd/tk_inl.h"
#include "tile_coder.h"

HWY_BEFORE_NAMESPACE();
namespace spillway::kernels::HWY_NAMESPACE {

#if HWY_TARGET == HWY_SCALAR  // a machine without vectors

std::uint64_t encode_tiles(const EncodeJob& job, TileRange tiles)
{
  return reference_coder().encode(job, tiles);
}
void decode_tiles(const DecodeJob& job, TileRange tiles)
{
  reference_coder().decode(job, tiles);
}

#else

// The last tile, made whole with zeros, so that vectors never read or write past a span.
struct WholeTile
{
  alignas(64) float values[kTileElements];
  alignas(64) float residual[kTileElements];
  alignas(64) float new_residual[kTileElements];
};

inline std::uint64_t encode_one(const EncodeJob& job, std::uint64_t t, const TileSource& source,
                                std::int32_t& guess)
{
  const EncodeInput& input = job.input;
  const CodecId id = input.codec.id;
  HWY_ALIGN float loaded[kTileElements];
  const float* a = static_cast<const float*>(source.values);
  // Plain numbers that lie well need no copy.
  if (input.type != SourceType::kFp32 || source.residual != nullptr || !is_aligned(a) || is_tk(id))
  {
    load_tile(input.type, source, input.beta, loaded);
    a = loaded;
  }
  std::byte* const first = tile_of(job.payload, job.layout, 0, t);
  std::byte* const second = tile_of(job.payload, job.layout, 1, t);
  if (is_tk(id))
  {
    const TkPlaces places{first, second, tile_of(job.payload, job.layout, 2, t),
                          tile_of(job.payload, job.layout, 3, t)};
    return encode_record(loaded, source, tk_shape(id), guess, places) ? 1 : 0;
  }
  if (id == CodecId::kQ8) return encode_blocks<CodecId::kQ8, 256, 8>(a, source, first, second);
  if (id == CodecId::kQ4) return encode_blocks<CodecId::kQ4, 64, 4>(a, source, first, second);
  return encode_blocks<CodecId::kQ2, 128, 2>(a, source, first, second);
}

std::uint64_t encode_tiles(const EncodeJob& job, TileRange tiles)
{
  const EncodeInput& input = job.input;
  // Copies: the reference does them as fast as memory allows.
  if (input.codec.id == CodecId::kRaw32 || input.codec.id == CodecId::kRaw16)
    return reference_coder().encode(job, tiles);
  const std::size_t size = size_bytes(input.type);
  std::uint64_t poisoned = 0;
  std::int32_t guess = 0x3F800000;
  for (std::uint64_t t = tiles.begin; t < tiles.end; ++t)
  {
    const std::uint64_t at = t * kTileElements;
    const std::size_t count = elements_in(t, input.elements);
    const bool feedback = !input.residual.empty();
    TileSource source{static_cast<const std::byte*>(input.values) + at * size,
                      feedback ? input.residual.data() + at : nullptr,
                      feedback ? input.new_residual.data() + at : nullptr};
    if (count == kTileElements)
    {
      poisoned += encode_one(job, t, source, guess);
      continue;
    }
    WholeTile whole = {};
    std::memcpy(whole.values, source.values, count * size);
    if (feedback) std::memcpy(whole.residual, source.residual, 4 * count);
    source.values = whole.values;
    if (feedback) source.residual = whole.residual;
    float* const fresh =
        std::exchange(source.new_residual, feedback ? whole.new_residual : nullptr);
    poisoned += encode_one(job, t, source, guess);
    hwy::FlushStream();
    if (feedback) std::memcpy(fresh, whole.new_residual, 4 * count);
  }
  hwy::FlushStream();
  return poisoned;
}

void decode_tiles(const DecodeJob& job, TileRange tiles)
{
  HWY_ALIGN float sums[kTileElements];
  HWY_ALIGN float last[kTileElements];
  for (std::uint64_t t = tiles.begin; t < tiles.end; ++t)
  {
    const std::size_t count = elements_in(t, job.out.size());
    float* const out = job.out.data() + t * kTileElements;
    if (!job.add || count < kTileElements) std::memset(sums, 0, sizeof sums);
    if (job.add) std::memcpy(sums, out, 4 * count);
    for (std::size_t c = 0; c < job.contributions.size(); ++c)
      add_tile(job.contributions[c], job.layouts[c], t, count, sums);
    store_tile(sums, count == kTileElements ? out : last);
    if (count == kTileElements) continue;
    hwy::FlushStream();
    std::memcpy(out, last, 4 * count);
  }
  hwy::FlushStream();
}

#endif  // HWY_SCALAR

}  // namespace spillway::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace spillway::kernels {
namespace {

HWY_EXPORT(encode_tiles);
HWY_EXPORT(decode_tiles);

std::uint64_t encode_best(const EncodeJob& job, TileRange tiles)
{
  return HWY_DYNAMIC_DISPATCH(encode_tiles)(job, tiles);
}
void decode_best(const DecodeJob& job, TileRange tiles)
{
  HWY_DYNAMIC_DISPATCH(decode_tiles)(job, tiles);
}

}  // namespace

const TileCoder& simd_coder()
{
  static constexpr TileCoder kCoder{encode_best, decode_best};
  return kCoder;
}

}  // namespace spillway::kernels
#endif
