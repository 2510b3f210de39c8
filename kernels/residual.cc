// SPDX-License-Identifier: Apache-2.0
#include "spillway/kernels/residual.h"

#include <algorithm>
#include <array>
#include <cstring>

#include "absl/strings/str_cat.h"
#include "spillway/base/status.h"
#include "spillway/kernels/frame.h"

namespace spillway::kernels {
namespace {

constexpr std::array<char, 4> kMagic = {'S', 'P', 'W', 'R'};
constexpr std::uint16_t kVersion = 1;

struct Wire
{
  std::array<char, 4> magic;
  std::uint16_t version;
  std::uint16_t zero;
  std::uint32_t header_crc;  // with these bytes as 0
  std::uint32_t values_crc;
  std::uint32_t fragment;
  std::uint32_t zero_too;
  std::uint64_t first_element;
  std::uint64_t elements;
  std::uint64_t generation;
  std::array<std::uint8_t, 16> zeros;
};
static_assert(sizeof(Wire) == kResidualHeaderBytes && std::is_trivially_copyable_v<Wire>);

std::uint32_t header_crc_of(Wire wire)
{
  wire.header_crc = 0;
  return crc32c(object_bytes(wire));
}

absl::Status damaged(absl::string_view what)
{
  return absl::DataLossError(absl::StrCat("residual: ", what, "; take another copy of it"));
}

ByteSpan bytes_of(absl::Span<const float> values)
{
  return {reinterpret_cast<const std::byte*>(values.data()), values.size() * sizeof(float)};
}

template <typename Range>
absl::Status check_ranges(absl::string_view name, absl::Span<const Range> ranges)
{
  std::uint64_t end = 0;
  for (std::size_t i = 0; i < ranges.size(); ++i)
  {
    const auto bad = [&](absl::string_view why) {
      return absl::InvalidArgumentError(
          absl::StrCat("`", name, "` ", i, " at element ", ranges[i].first_element, " ", why));
    };
    const std::uint64_t begin = ranges[i].first_element, size = ranges[i].values.size();
    if (begin % kTileElements != 0) return bad("does not begin at a tile");
    if (begin > kMostElements || size > kMostElements) return bad("lies beyond all fragments");
    if (i > 0 && begin < end) return bad("overlaps the one before it, or is not behind it");
    end = begin + size;
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status repartition(absl::Span<const ResidualRange> from, absl::Span<const ResidualSlot> to)
{
  SPILLWAY_RETURN_IF_ERROR(check_ranges("from", from));
  SPILLWAY_RETURN_IF_ERROR(check_ranges("to", to));
  for (const ResidualSlot& slot : to)
  {
    std::fill(slot.values.begin(), slot.values.end(), 0.0f);
    const std::uint64_t slot_end = slot.first_element + slot.values.size();
    for (const ResidualRange& range : from)
    {
      const std::uint64_t begin = std::max(slot.first_element, range.first_element);
      const std::uint64_t end =
          std::min(slot_end, range.first_element + std::uint64_t{range.values.size()});
      if (begin >= end) continue;
      std::memcpy(slot.values.data() + (begin - slot.first_element),
                  range.values.data() + (begin - range.first_element),
                  (end - begin) * sizeof(float));
    }
  }
  return absl::OkStatus();
}

std::uint64_t exported_bytes(std::uint64_t elements)
{
  return kResidualHeaderBytes + elements * sizeof(float);
}

absl::Status export_residual(const ResidualHeader& header, absl::Span<const float> values,
                             MutableByteSpan out)
{
  if (header.elements != values.size())
    return absl::InvalidArgumentError(absl::StrCat("the header says ", header.elements,
                                                   " elements, `values` has ", values.size()));
  if (header.first_element % kTileElements != 0)
    return absl::InvalidArgumentError(absl::StrCat("a residual begins at a multiple of ",
                                                   kTileElements, " elements, not at ",
                                                   header.first_element));
  if (out.size() != exported_bytes(header.elements))
    return absl::InvalidArgumentError(absl::StrCat("`out` has ", out.size(), " bytes; ",
                                                   header.elements, " elements need ",
                                                   exported_bytes(header.elements)));
  Wire wire = {};
  wire.magic = kMagic;
  wire.version = kVersion;
  wire.fragment = header.fragment;
  wire.first_element = header.first_element;
  wire.elements = header.elements;
  wire.generation = header.generation;
  wire.values_crc = crc32c(bytes_of(values));
  wire.header_crc = header_crc_of(wire);
  std::memcpy(out.data(), &wire, sizeof wire);
  if (!values.empty())
    std::memcpy(out.data() + sizeof wire, values.data(), bytes_of(values).size());
  return absl::OkStatus();
}

absl::StatusOr<ResidualHeader> open_residual(ByteSpan bytes)
{
  if (bytes.size() < kResidualHeaderBytes)
    return damaged(absl::StrCat("it ends after ", bytes.size(), " bytes, within its header"));
  Wire wire;
  std::memcpy(&wire, bytes.data(), sizeof wire);
  if (wire.magic != kMagic) return damaged("it does not begin with SPWR");
  if (wire.header_crc != header_crc_of(wire)) return damaged("the header's checksum does not fit");
  if (wire.version != kVersion)
    return absl::UnimplementedError(absl::StrCat(
        "residual version ", wire.version, " is not known; this build has version ", kVersion));
  const bool zeros = std::all_of(wire.zeros.begin(), wire.zeros.end(),
                                 [](std::uint8_t byte) { return byte == 0; });
  if (wire.zero != 0 || wire.zero_too != 0 || !zeros)
    return damaged("reserved bytes of the header are not 0");
  if (wire.first_element % kTileElements != 0)
    return damaged(absl::StrCat("first element ", wire.first_element, " is not at a tile's edge"));
  if (wire.elements > kMostElements || bytes.size() != exported_bytes(wire.elements))
    return damaged(absl::StrCat("it has ", bytes.size(), " bytes, which do not fit ", wire.elements,
                                " elements"));
  if (wire.values_crc != crc32c(bytes.subspan(kResidualHeaderBytes)))
    return damaged("the checksum of its values does not fit");
  return ResidualHeader{wire.fragment, wire.first_element, wire.elements, wire.generation};
}

absl::Status import_residual(ByteSpan bytes, absl::Span<float> out)
{
  SPILLWAY_ASSIGN_OR_RETURN(const ResidualHeader header, open_residual(bytes));
  if (out.size() != header.elements)
    return absl::InvalidArgumentError(
        absl::StrCat("`out` has ", out.size(), " elements, the residual ", header.elements));
  if (!out.empty())
    std::memcpy(out.data(), bytes.data() + kResidualHeaderBytes, out.size() * sizeof(float));
  return absl::OkStatus();
}

}  // namespace spillway::kernels
