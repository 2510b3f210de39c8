// SPDX-License-Identifier: Apache-2.0
#include "spillway/kernels/coder.h"

#include <atomic>
#include <thread>
#include <vector>

#include "absl/container/inlined_vector.h"
#include "absl/functional/function_ref.h"
#include "absl/strings/str_cat.h"
#include "checks.h"
#include "reference/blocks_ref.h"
#include "spillway/base/status.h"
#include "tile_coder.h"

namespace spillway::kernels {
namespace {

// Below this a thread costs more than it saves.
constexpr std::uint64_t kLeastTilesOfAThread = 16;

const TileCoder& coder_of(Backend backend)
{
  return backend == Backend::kReference ? reference_coder() : simd_coder();
}

// Divides the tiles into equal runs, one for each thread, this one included.
void for_tiles(std::uint64_t tiles, int threads, absl::FunctionRef<void(TileRange)> work)
{
  std::uint64_t parts = tiles / kLeastTilesOfAThread;
  parts = std::min<std::uint64_t>(std::max<std::uint64_t>(parts, 1),
                                  static_cast<std::uint64_t>(threads));
  const auto range = [&](std::uint64_t part) {
    return TileRange{tiles * part / parts, tiles * (part + 1) / parts};
  };
  std::vector<std::jthread> others;
  for (std::uint64_t part = 1; part < parts; ++part)
    others.emplace_back([&work, tiles = range(part)] { work(tiles); });
  work(range(0));
}

void clear_padding(const Layout& layout, std::byte* payload)
{
  for (int i = 0; i < layout.count; ++i)
  {
    const Section& section = layout.sections[static_cast<std::size_t>(i)];
    const std::uint64_t end = section.offset_bytes + section.size_bytes;
    const std::uint64_t next = i + 1 < layout.count
                                   ? layout.sections[static_cast<std::size_t>(i + 1)].offset_bytes
                                   : layout.payload_bytes;
    std::memset(payload + end, 0, next - end);
  }
}

}  // namespace

absl::StatusOr<Encoded> encode(const EncodeInput& input, MutableByteSpan payload,
                               const EncodeOptions& options)
{
  EncodeJob job;
  SPILLWAY_ASSIGN_OR_RETURN(job.layout, layout_of(input.codec, input.elements));
  SPILLWAY_RETURN_IF_ERROR(check_threads(options.threads));
  SPILLWAY_RETURN_IF_ERROR(check_encode(input, job.layout, payload));
  job.input = input;
  job.payload = payload.data();
  if (payload.empty()) return Encoded{};
  std::atomic<std::uint64_t> poisoned = 0;
  for_tiles(tiles_of(input.elements), options.threads,
            [&](TileRange tiles) { poisoned += coder_of(options.backend).encode(job, tiles); });
  clear_padding(job.layout, payload.data());
  return Encoded{poisoned};
}

absl::Status decode(absl::Span<const Contribution> contributions, absl::Span<float> out,
                    const DecodeOptions& options)
{
  SPILLWAY_RETURN_IF_ERROR(check_threads(options.threads));
  absl::InlinedVector<Layout, 8> layouts;
  for (std::size_t i = 0; i < contributions.size(); ++i)
  {
    const Contribution& from = contributions[i];
    const std::string which = absl::StrCat("contribution ", i);
    SPILLWAY_ASSIGN_OR_RETURN(const Layout layout, layout_of(from.codec, out.size()));
    SPILLWAY_RETURN_IF_ERROR(
        check_payload_size(from.codec, layout, from.payload, out.size(), which));
    SPILLWAY_RETURN_IF_ERROR(check_out(out, from.payload, "out"));
    SPILLWAY_RETURN_IF_ERROR(check_payload(from.codec, layout, from.payload, which));
    layouts.push_back(layout);
  }
  const DecodeJob job{contributions, layouts, out, options.add};
  for_tiles(tiles_of(out.size()), options.threads,
            [&](TileRange tiles) { coder_of(options.backend).decode(job, tiles); });
  return absl::OkStatus();
}

absl::Status restore(Codec codec, ByteSpan payload, absl::Span<float> residual,
                     const DecodeOptions& options)
{
  SPILLWAY_RETURN_IF_ERROR(check_threads(options.threads));
  SPILLWAY_ASSIGN_OR_RETURN(const Layout layout, layout_of(codec, residual.size()));
  SPILLWAY_RETURN_IF_ERROR(
      check_payload_size(codec, layout, payload, residual.size(), "the payload"));
  SPILLWAY_RETURN_IF_ERROR(check_out(residual, payload, "residual"));
  SPILLWAY_RETURN_IF_ERROR(check_payload(codec, layout, payload, "the payload"));
  const Contribution only{codec, payload, 1.0f};
  for_tiles(tiles_of(residual.size()), options.threads, [&](TileRange tiles) {
    DecodedTile decoded;
    for (std::uint64_t t = tiles.begin; t < tiles.end; ++t)
    {
      const std::uint64_t first = t * kTileElements;
      const std::size_t count = elements_in(t, residual.size());
      decode_tile_reference(only, layout, t, count, decoded);
      for (std::size_t i = 0; i < count; ++i)
      {
        if (!decoded.sent[i] || is_poison(magnitude_of(decoded.values[i]))) continue;
        residual[first + i] = decoded.values[i] + residual[first + i];
      }
    }
  });
  return absl::OkStatus();
}

}  // namespace spillway::kernels
