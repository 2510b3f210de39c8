// SPDX-License-Identifier: Apache-2.0
#include "spillway/kernels/codec.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "spillway/base/check.h"

namespace spillway::kernels {
namespace {

struct Entry
{
  Codec codec;
  absl::string_view name;
};
constexpr std::array<Entry, 8> kEntries = {{{{CodecId::kRaw32, 1}, "raw32"},
                                            {{CodecId::kRaw16, 1}, "raw16"},
                                            {{CodecId::kQ8, 1}, "q8"},
                                            {{CodecId::kQ4, 1}, "q4"},
                                            {{CodecId::kQ2, 1}, "q2"},
                                            {{CodecId::kTk32, 1}, "tk32"},
                                            {{CodecId::kTk64, 1}, "tk64"},
                                            {{CodecId::kTk128, 1}, "tk128"}}};

std::string known()
{
  return absl::StrJoin(kEntries, ", ", [](std::string* out, const Entry& entry) {
    absl::StrAppend(out, entry.name, " (", static_cast<int>(entry.codec.id), " version ",
                    entry.codec.version, ")");
  });
}

constexpr std::uint64_t aligned(std::uint64_t bytes)
{
  return (bytes + kSectionAlignment - 1) / kSectionAlignment * kSectionAlignment;
}

struct Part
{
  absl::string_view name;
  std::uint64_t tile_bytes;
};

// The parts of a tile, in the order of their sections.
absl::Span<const Part> parts_of(CodecId id)
{
  static constexpr Part kRaw32[] = {{"values", 4 * kTileElements}};
  static constexpr Part kRaw16[] = {{"values", 2 * kTileElements}};
  static constexpr Part kQ8[] = {{"scales", 2 * 16}, {"codes", kTileElements}};
  static constexpr Part kQ4[] = {{"scales", 2 * 64}, {"codes", kTileElements / 2}};
  static constexpr Part kQ2[] = {{"means", 2 * 32}, {"codes", kTileElements / 4}};
  static constexpr Part kTk32[] = {{"low", 28}, {"high", 8}, {"values", 8}, {"levels", 4}};
  static constexpr Part kTk64[] = {{"low", 48}, {"high", 16}, {"values", 16}, {"levels", 4}};
  static constexpr Part kTk128[] = {{"low", 80}, {"high", 32}, {"values", 32}, {"levels", 4}};
  switch (id)
  {
    case CodecId::kRaw32:
      return kRaw32;
    case CodecId::kRaw16:
      return kRaw16;
    case CodecId::kQ8:
      return kQ8;
    case CodecId::kQ4:
      return kQ4;
    case CodecId::kQ2:
      return kQ2;
    case CodecId::kTk32:
      return kTk32;
    case CodecId::kTk64:
      return kTk64;
    case CodecId::kTk128:
      return kTk128;
  }
  return {};
}

}  // namespace

std::size_t size_bytes(SourceType type)
{
  return type == SourceType::kFp32 ? 4 : 2;
}

absl::Span<const Codec> all_codecs()
{
  static constexpr std::array<Codec, kEntries.size()> kAll = [] {
    std::array<Codec, kEntries.size()> out;
    for (std::size_t i = 0; i < out.size(); ++i) out[i] = kEntries[i].codec;
    return out;
  }();
  return kAll;
}

absl::string_view name_of(CodecId id)
{
  for (const Entry& entry : kEntries)
    if (entry.codec.id == id) return entry.name;
  return "unknown";
}

absl::StatusOr<Codec> find_codec(std::uint16_t id, std::uint16_t version)
{
  for (const Entry& entry : kEntries)
  {
    if (static_cast<std::uint16_t>(entry.codec.id) == id && entry.codec.version == version)
      return entry.codec;
  }
  return absl::UnimplementedError(absl::StrCat("codec ", id, " version ", version,
                                               " is not in this build, which has ", known(),
                                               "; its sender must use one of these"));
}

absl::StatusOr<Codec> find_codec(absl::string_view name)
{
  for (const Entry& entry : kEntries)
    if (entry.name == name) return entry.codec;
  return absl::InvalidArgumentError(
      absl::StrCat("there is no codec '", name, "'; there are ", known()));
}

std::uint64_t tiles_of(std::uint64_t elements)
{
  return elements / kTileElements + (elements % kTileElements != 0 ? 1 : 0);
}

absl::StatusOr<Layout> layout_of(Codec codec, std::uint64_t elements)
{
  if (elements > kMostElements)
  {
    return absl::InvalidArgumentError(
        absl::StrCat(elements, " elements are more than a payload can have, ", kMostElements));
  }
  const absl::Span<const Part> parts = parts_of(codec.id);
  if (const absl::StatusOr<Codec> found =
          find_codec(static_cast<std::uint16_t>(codec.id), codec.version);
      !found.ok())
    return found.status();
  const std::uint64_t tiles = tiles_of(elements);
  Layout out;
  for (const Part& part : parts)
  {
    Section& section = out.sections[static_cast<std::size_t>(out.count++)];
    section.name = part.name;
    section.offset_bytes = out.payload_bytes;
    section.tile_bytes = part.tile_bytes;
    // Plain numbers need no zeros up to the end of the tile.
    const bool raw = codec.id == CodecId::kRaw32 || codec.id == CodecId::kRaw16;
    section.size_bytes =
        raw ? elements * (part.tile_bytes / kTileElements) : tiles * part.tile_bytes;
    out.payload_bytes += aligned(section.size_bytes);
  }
  return out;
}

}  // namespace spillway::kernels
