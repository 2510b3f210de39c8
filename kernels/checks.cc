// SPDX-License-Identifier: Apache-2.0
#include "checks.h"

#include "absl/strings/str_cat.h"
#include "spillway/base/status.h"
#include "tk_record.h"

namespace spillway::kernels {
namespace {

constexpr int kMostThreads = 1024;

struct Named
{
  absl::string_view name;
  const void* data = nullptr;
  std::uint64_t bytes = 0;
  std::size_t alignment = 1;
};

absl::Status check_aligned(const Named& span)
{
  if (reinterpret_cast<std::uintptr_t>(span.data) % span.alignment == 0) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat("`", span.name, "` is not aligned to ", span.alignment, " bytes"));
}

absl::Status check_apart(const Named& a, const Named& b)
{
  const auto first = reinterpret_cast<std::uintptr_t>(a.data);
  const auto second = reinterpret_cast<std::uintptr_t>(b.data);
  if (a.bytes == 0 || b.bytes == 0 || first + a.bytes <= second || second + b.bytes <= first)
    return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat("`", a.name, "` and `", b.name, "` overlap"));
}

std::string where(absl::string_view which, const Section& section, std::uint64_t tile)
{
  return absl::StrCat(which, ", section `", section.name, "`, tile ", tile);
}

absl::Status check_scales(CodecId id, const Layout& layout, ByteSpan payload,
                          absl::string_view which)
{
  const Section& section = layout.sections[0];
  const std::byte* const scales = payload.data() + section.offset_bytes;
  for (std::uint64_t i = 0; i < section.size_bytes / 2; ++i)
  {
    if (is_scale(id, load_u16(scales, i))) continue;
    return absl::DataLossError(
        absl::StrCat(where(which, section, 2 * i / section.tile_bytes), ": block ", i, " has ",
                     absl::Hex(load_u16(scales, i), absl::kZeroPad4),
                     " for a scale, which no encoder writes; the payload is damaged"));
  }
  return absl::OkStatus();
}

absl::Status check_records(CodecId id, const Layout& layout, ByteSpan payload,
                           absl::string_view which)
{
  const TkShape shape = tk_shape(id);
  TkRecord record;
  for (std::uint64_t t = 0; t < layout.sections[0].size_bytes / layout.sections[0].tile_bytes; ++t)
  {
    const std::byte* const data = payload.data();
    if (!read_tk(shape, tile_of(data, layout, 0, t), tile_of(data, layout, 1, t),
                 tile_of(data, layout, 2, t), tile_of(data, layout, 3, t), record))
    {
      return absl::DataLossError(
          absl::StrCat(where(which, layout.sections[1], t), ": not ", shape.kept,
                       " indices in ascending order; the payload is damaged"));
    }
    const bool poisoned = record.lower == kPoisonScale && record.upper == kPoisonScale;
    if (!poisoned && (!is_scale(id, record.lower) || !is_scale(id, record.upper) ||
                      record.lower == kPoisonScale || record.upper == kPoisonScale))
    {
      return absl::DataLossError(absl::StrCat(where(which, layout.sections[3], t), ": ",
                                              absl::Hex(record.lower, absl::kZeroPad4), " and ",
                                              absl::Hex(record.upper, absl::kZeroPad4),
                                              " are no levels; the payload is damaged"));
    }
  }
  return absl::OkStatus();
}

}  // namespace

bool is_scale(CodecId id, std::uint16_t scale)
{
  if (scale == 0 || scale == kPoisonScale) return true;
  const std::uint16_t most = id == CodecId::kQ8   ? kQ8MostScale
                             : id == CodecId::kQ4 ? kQ4MostScale
                                                  : kMostLevel;
  return scale >= kLeastScale && scale <= most;
}

absl::Status check_threads(int threads)
{
  if (threads >= 1 && threads <= kMostThreads) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat("`threads` is ", threads, ", which is not in 1 to ", kMostThreads));
}

absl::Status check_encode(const EncodeInput& input, const Layout& layout, MutableByteSpan payload)
{
  if (payload.size() != layout.payload_bytes)
  {
    return absl::InvalidArgumentError(
        absl::StrCat("`payload` has ", payload.size(), " bytes; ", input.elements, " elements of ",
                     name_of(input.codec.id), " take exactly ", layout.payload_bytes));
  }
  const bool feedback = !input.residual.empty() || !input.new_residual.empty();
  if (feedback &&
      (input.residual.size() != input.elements || input.new_residual.size() != input.elements))
  {
    return absl::InvalidArgumentError(absl::StrCat(
        "`residual` has ", input.residual.size(), " and `new_residual` ", input.new_residual.size(),
        " elements; both must have none or ", input.elements));
  }
  if (input.elements > 0 && input.values == nullptr)
    return absl::InvalidArgumentError("`values` is null");
  if (input.type > SourceType::kFp16)
    return absl::InvalidArgumentError(
        absl::StrCat("source type ", static_cast<int>(input.type), " is unknown"));
  const Named values{"values", input.values, input.elements * size_bytes(input.type),
                     size_bytes(input.type)};
  const Named residual{"residual", input.residual.data(), 4 * input.residual.size(), 4};
  const Named fresh{"new_residual", input.new_residual.data(), 4 * input.new_residual.size(), 4};
  const Named out{"payload", payload.data(), payload.size(), 1};
  for (const Named& span : {values, residual, fresh}) SPILLWAY_RETURN_IF_ERROR(check_aligned(span));
  for (const Named& read : {values, residual})
    for (const Named& written : {fresh, out}) SPILLWAY_RETURN_IF_ERROR(check_apart(read, written));
  return check_apart(fresh, out);
}

absl::Status check_out(absl::Span<const float> out, ByteSpan payload, absl::string_view name)
{
  const Named written{name, out.data(), 4 * out.size(), 4};
  SPILLWAY_RETURN_IF_ERROR(check_aligned(written));
  return check_apart(written, {"payload", payload.data(), payload.size(), 1});
}

absl::Status check_payload_size(Codec codec, const Layout& layout, ByteSpan payload,
                                std::uint64_t elements, absl::string_view which)
{
  if (payload.size() == layout.payload_bytes) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat(which, " has ", payload.size(), " bytes; ",
                                                 elements, " elements of ", name_of(codec.id),
                                                 " take exactly ", layout.payload_bytes));
}

absl::Status check_payload(Codec codec, const Layout& layout, ByteSpan payload,
                           absl::string_view which)
{
  if (codec.id == CodecId::kRaw32 || codec.id == CodecId::kRaw16) return absl::OkStatus();
  if (is_tk(codec.id)) return check_records(codec.id, layout, payload, which);
  return check_scales(codec.id, layout, payload, which);
}

}  // namespace spillway::kernels
