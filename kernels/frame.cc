// SPDX-License-Identifier: Apache-2.0
#include "spillway/kernels/frame.h"

#include <algorithm>
#include <cstring>

#include "absl/strings/str_cat.h"
#include "isa-l/crc.h"
#include "spillway/base/status.h"

namespace spillway::kernels {
namespace {

constexpr std::array<char, 4> kMagic = {'S', 'P', 'W', 'F'};
constexpr std::uint16_t kFrameVersion = 1;
constexpr std::uint64_t kCrcPiece = 1ull << 30;  // isa-l counts in int

// The bytes of a header in their order; the machines this runs on are little-endian.
struct Wire
{
  std::array<char, 4> magic;
  std::uint16_t frame_version;
  std::uint16_t codec;
  std::uint16_t codec_version;
  std::uint8_t source;
  std::uint8_t zero;
  std::uint32_t header_crc;
  std::uint64_t elements;
  std::uint64_t first_element;
  std::uint64_t round;
  std::uint32_t fragment;
  std::uint32_t sender;
  std::uint64_t residual_generation;
  std::uint64_t poisoned;
  std::uint64_t payload_bytes;
  std::array<std::uint32_t, kMostSections> section_crcs;
  std::array<std::uint8_t, 40> zeros;
};
static_assert(sizeof(Wire) == kFrameHeaderBytes && std::is_trivially_copyable_v<Wire>);

// With the place of the checksum itself as zero.
std::uint32_t header_crc_of(Wire wire)
{
  wire.header_crc = 0;
  return crc32c(object_bytes(wire));
}

// From a section's start to the next: its padding is covered.
ByteSpan section_of(const Layout& layout, int section, ByteSpan payload)
{
  const auto at = static_cast<std::size_t>(section);
  const std::uint64_t begin = layout.sections[at].offset_bytes;
  const std::uint64_t end =
      section + 1 < layout.count ? layout.sections[at + 1].offset_bytes : layout.payload_bytes;
  return payload.subspan(begin, end - begin);
}

absl::Status damaged(absl::string_view what)
{
  return absl::DataLossError(absl::StrCat("frame: ", what, "; ask its sender for it again"));
}

absl::Status check_fixed(const Wire& wire)
{
  if (wire.magic != kMagic) return damaged("it does not begin with SPWF");
  if (wire.header_crc != header_crc_of(wire)) return damaged("the header's checksum does not fit");
  if (wire.frame_version != kFrameVersion)
  {
    return absl::UnimplementedError(absl::StrCat("frame version ", wire.frame_version,
                                                 " is not known; this build has version ",
                                                 kFrameVersion));
  }
  const auto is_zero = [](std::uint8_t byte) { return byte == 0; };
  if (wire.zero != 0 || !std::all_of(wire.zeros.begin(), wire.zeros.end(), is_zero))
    return damaged("reserved bytes of the header are not 0");
  if (wire.source > static_cast<std::uint8_t>(SourceType::kFp16))
    return damaged(absl::StrCat("source type ", wire.source, " is unknown"));
  if (wire.first_element % kTileElements != 0)
    return damaged(absl::StrCat("first element ", wire.first_element, " is not at a tile's edge"));
  return absl::OkStatus();
}

}  // namespace

std::uint32_t crc32c(ByteSpan bytes)
{
  std::uint32_t crc = 0xFFFFFFFFu;
  for (std::size_t at = 0; at < bytes.size(); at += kCrcPiece)
  {
    const ByteSpan piece = bytes.subspan(at, kCrcPiece);
    // isa-l takes what it only reads as not const.
    auto* const data = reinterpret_cast<unsigned char*>(const_cast<std::byte*>(piece.data()));
    crc = crc32_iscsi(data, static_cast<int>(piece.size()), crc);
  }
  return ~crc;
}

absl::StatusOr<std::uint64_t> frame_bytes(Codec codec, std::uint64_t elements)
{
  SPILLWAY_ASSIGN_OR_RETURN(const Layout layout, layout_of(codec, elements));
  return kFrameHeaderBytes + layout.payload_bytes;
}

absl::Status seal_frame(const FrameHeader& header, MutableByteSpan frame)
{
  SPILLWAY_ASSIGN_OR_RETURN(const Layout layout, layout_of(header.codec, header.elements));
  if (frame.size() != kFrameHeaderBytes + layout.payload_bytes)
  {
    return absl::InvalidArgumentError(absl::StrCat(
        "`frame` has ", frame.size(), " bytes; a frame of ", header.elements, " elements of ",
        name_of(header.codec.id), " has ", kFrameHeaderBytes + layout.payload_bytes));
  }
  if (header.first_element % kTileElements != 0)
  {
    return absl::InvalidArgumentError(absl::StrCat("a frame begins at a multiple of ",
                                                   kTileElements, " elements, not at ",
                                                   header.first_element));
  }
  Wire wire = {};
  wire.magic = kMagic;
  wire.frame_version = kFrameVersion;
  wire.codec = static_cast<std::uint16_t>(header.codec.id);
  wire.codec_version = header.codec.version;
  wire.source = static_cast<std::uint8_t>(header.source);
  wire.elements = header.elements;
  wire.first_element = header.first_element;
  wire.round = header.round;
  wire.fragment = header.fragment;
  wire.sender = header.sender;
  wire.residual_generation = header.residual_generation;
  wire.poisoned = header.poisoned;
  wire.payload_bytes = layout.payload_bytes;
  for (int i = 0; i < layout.count; ++i)
  {
    wire.section_crcs[static_cast<std::size_t>(i)] =
        crc32c(section_of(layout, i, frame.subspan(kFrameHeaderBytes)));
  }
  wire.header_crc = header_crc_of(wire);
  std::memcpy(frame.data(), &wire, sizeof wire);
  return absl::OkStatus();
}

absl::StatusOr<OpenedFrame> open_frame(ByteSpan frame)
{
  if (frame.size() < kFrameHeaderBytes)
    return damaged(absl::StrCat("it ends after ", frame.size(), " bytes, within its header"));
  Wire wire;
  std::memcpy(&wire, frame.data(), sizeof wire);
  SPILLWAY_RETURN_IF_ERROR(check_fixed(wire));
  OpenedFrame out;
  SPILLWAY_ASSIGN_OR_RETURN(out.header.codec, find_codec(wire.codec, wire.codec_version));
  const absl::StatusOr<Layout> layout = layout_of(out.header.codec, wire.elements);
  if (!layout.ok()) return damaged(layout.status().message());
  if (wire.payload_bytes != layout->payload_bytes)
  {
    return damaged(absl::StrCat("its payload is said to have ", wire.payload_bytes, " bytes; ",
                                wire.elements, " elements of ", name_of(out.header.codec.id),
                                " have ", layout->payload_bytes));
  }
  if (frame.size() != kFrameHeaderBytes + layout->payload_bytes)
  {
    return damaged(absl::StrCat("it has ", frame.size(), " bytes and should have ",
                                kFrameHeaderBytes + layout->payload_bytes));
  }
  out.payload = frame.subspan(kFrameHeaderBytes);
  for (int i = 0; i < kMostSections; ++i)
  {
    const auto at = static_cast<std::size_t>(i);
    const std::uint32_t wanted =
        i < layout->count ? crc32c(section_of(*layout, i, out.payload)) : 0;
    if (wire.section_crcs[at] == wanted) continue;
    return damaged(absl::StrCat("the checksum of section ", i, " (`", layout->sections[at].name,
                                "`) does not fit its bytes"));
  }
  out.header.source = static_cast<SourceType>(wire.source);
  out.header.elements = wire.elements;
  out.header.first_element = wire.first_element;
  out.header.round = wire.round;
  out.header.fragment = wire.fragment;
  out.header.sender = wire.sender;
  out.header.residual_generation = wire.residual_generation;
  out.header.poisoned = wire.poisoned;
  return out;
}

}  // namespace spillway::kernels
