// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

#include "absl/status/statusor.h"
#include "spillway/base/bytes.h"
#include "spillway/kernels/codec.h"

// A payload on its way: a header of 128 bytes that says what it is, and checksums. SPEC.md §7.
namespace spillway::kernels {

inline constexpr std::size_t kFrameHeaderBytes = 128;

// What the sender says of its payload.
struct FrameHeader
{
  Codec codec;
  SourceType source = SourceType::kFp32;
  std::uint64_t elements = 0;
  std::uint64_t first_element = 0;  // of the fragment; a multiple of 4096
  std::uint64_t round = 0;
  std::uint32_t fragment = 0;
  std::uint32_t sender = 0;
  std::uint64_t residual_generation = 0;
  std::uint64_t poisoned = 0;  // as encode() counted
  friend bool operator==(const FrameHeader&, const FrameHeader&) = default;
};

// What decides about a payload's size, and so how much a receiver has to wait for.
absl::StatusOr<std::uint64_t> frame_bytes(Codec codec, std::uint64_t elements);

// Writes the header in front of a payload that encode() has written to
// frame.subspan(kFrameHeaderBytes). kInvalidArgument if `frame` has not exactly frame_bytes().
absl::Status seal_frame(const FrameHeader& header, MutableByteSpan frame);

struct OpenedFrame
{
  FrameHeader header;
  ByteSpan payload;  // within the frame
};
// Checks magic, version, sizes and all checksums of untrusted bytes. kDataLoss names what is wrong
// and where; kUnimplemented is for a codec or a frame version that this build does not have.
absl::StatusOr<OpenedFrame> open_frame(ByteSpan frame);

// CRC-32C (Castagnoli) as in iSCSI: reflected, initial value and final xor all ones.
std::uint32_t crc32c(ByteSpan bytes);

}  // namespace spillway::kernels
