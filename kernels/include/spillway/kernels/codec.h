// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"

// Which codecs there are and how large what they write is: a function of the codec and the number
// of elements alone, so that a receiver knows every size before the first byte. SPEC.md is the
// normative text; this is its §1 and §3.
namespace spillway::kernels {

inline constexpr std::uint64_t kTileElements = 4096;        // no block or record crosses a tile
inline constexpr std::size_t kSectionAlignment = 128;       // of each section, in bytes
inline constexpr std::uint64_t kMostElements = 1ull << 40;  // of one payload
inline constexpr int kMostSections = 4;

enum class CodecId : std::uint16_t
{
  kRaw32 = 1,  // fp32 as it is
  kRaw16 = 2,  // bf16, nearest
  kQ8 = 16,    // 8 bits, a scale for 256 elements
  kQ4 = 17,    // E2M1, a scale for 64
  kQ2 = 18,    // sign and two levels, a mean for 128
  kTk32 = 32,  // the largest 32, 64, 128 of each tile, two levels
  kTk64 = 33,
  kTk128 = 34,
};

// What a payload is written in. Bytes of one id and version never change their meaning.
struct Codec
{
  CodecId id = CodecId::kRaw32;
  std::uint16_t version = 1;
  friend bool operator==(const Codec&, const Codec&) = default;
};

// What encode() reads. Widened exactly.
enum class SourceType : std::uint8_t
{
  kFp32 = 0,
  kBf16 = 1,
  kFp16 = 2,
};
std::size_t size_bytes(SourceType type);

// All codecs of this build, in the order of their ids.
absl::Span<const Codec> all_codecs();
absl::string_view name_of(CodecId id);
// kUnimplemented, with what is known, for an id or a version that this build does not have.
absl::StatusOr<Codec> find_codec(std::uint16_t id, std::uint16_t version);
// By its name ("q8", "tk64"); kInvalidArgument with the names there are.
absl::StatusOr<Codec> find_codec(absl::string_view name);

std::uint64_t tiles_of(std::uint64_t elements);

struct Section
{
  absl::string_view name;
  std::uint64_t offset_bytes = 0;  // from the start of the payload, a multiple of 128
  std::uint64_t size_bytes = 0;    // without the zeros up to the next section
  std::uint64_t tile_bytes = 0;    // of one tile: tile t starts at offset + t * tile_bytes
};
// Where the parts of a payload lie. The payload ends with the last section's padding.
struct Layout
{
  std::array<Section, kMostSections> sections;
  int count = 0;
  std::uint64_t payload_bytes = 0;
  absl::Span<const Section> all() const
  {
    return {sections.data(), static_cast<std::size_t>(count)};
  }
};
// kInvalidArgument for more than kMostElements.
absl::StatusOr<Layout> layout_of(Codec codec, std::uint64_t elements);

}  // namespace spillway::kernels
