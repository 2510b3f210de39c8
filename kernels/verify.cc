// SPDX-License-Identifier: Apache-2.0
#include "absl/strings/str_cat.h"
#include "checks.h"
#include "spillway/base/status.h"
#include "tk_record.h"

namespace spillway::kernels {
namespace {

absl::Status not_written(const Section& section, std::uint64_t byte, absl::string_view why)
{
  return absl::DataLossError(absl::StrCat("section `", section.name, "`, byte ", byte, ": ", why));
}

absl::Status check_zeros(const Section& section, ByteSpan payload, std::uint64_t begin,
                         std::uint64_t end, absl::string_view why)
{
  for (std::uint64_t at = begin; at < end; ++at)
    if (payload[at] != std::byte{0}) return not_written(section, at - section.offset_bytes, why);
  return absl::OkStatus();
}

// Codes that mean nothing: of blocks without a scale, behind the last element, and the two that
// would be a second name of a value.
absl::Status check_codes(Codec codec, const Layout& layout, ByteSpan payload,
                         std::uint64_t elements)
{
  const Section& section = layout.sections[1];
  const std::uint64_t bits = codec.id == CodecId::kQ8 ? 8 : codec.id == CodecId::kQ4 ? 4 : 2;
  const std::uint64_t blocks = layout.sections[0].size_bytes / 2;
  const std::uint64_t block = blocks == 0 ? 1 : section.size_bytes / blocks;
  const std::byte* const scales = payload.data() + layout.sections[0].offset_bytes;
  for (std::uint64_t at = 0; at < section.size_bytes; ++at)
  {
    const std::uint16_t scale = load_u16(scales, at / block);
    const auto byte = std::to_integer<std::uint32_t>(payload[section.offset_bytes + at]);
    if (byte != 0 && (scale == 0 || scale == kPoisonScale))
      return not_written(section, at, "a code that is not 0 in a block without a scale");
    if (codec.id == CodecId::kQ8 && byte == 0x80) return not_written(section, at, "the code -128");
    if (codec.id == CodecId::kQ4 && ((byte & 15u) == 8 || byte >> 4 == 8))
      return not_written(section, at, "the code 8, a negative 0");
    const std::uint64_t first = at * 8 / bits;  // element of the byte's lowest bit
    const std::uint64_t used = first >= elements ? 0 : std::min(elements - first, 8 / bits) * bits;
    if (byte >> used != 0) return not_written(section, at, "a code behind the last element");
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status verify(Codec codec, ByteSpan payload, std::uint64_t elements)
{
  SPILLWAY_ASSIGN_OR_RETURN(const Layout layout, layout_of(codec, elements));
  SPILLWAY_RETURN_IF_ERROR(check_payload_size(codec, layout, payload, elements, "the payload"));
  SPILLWAY_RETURN_IF_ERROR(check_payload(codec, layout, payload, "the payload"));
  for (int i = 0; i < layout.count; ++i)
  {
    const Section& section = layout.sections[static_cast<std::size_t>(i)];
    const std::uint64_t next = i + 1 < layout.count
                                   ? layout.sections[static_cast<std::size_t>(i + 1)].offset_bytes
                                   : layout.payload_bytes;
    SPILLWAY_RETURN_IF_ERROR(check_zeros(section, payload,
                                         section.offset_bytes + section.size_bytes, next,
                                         "padding that is not 0"));
  }
  const bool blocks =
      codec.id == CodecId::kQ8 || codec.id == CodecId::kQ4 || codec.id == CodecId::kQ2;
  return blocks ? check_codes(codec, layout, payload, elements) : absl::OkStatus();
}

}  // namespace spillway::kernels
