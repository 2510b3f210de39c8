// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "spillway/base/bytes.h"
#include "spillway/kernels/codec.h"

// The residual of a fragment outlives who owns its ranges: it is cut anew when owners change, and
// travels or is stored as bytes. Ranges begin and end at tiles (the last may end anywhere), as
// payloads do, so that no block changes by it. SPEC.md §9.
namespace spillway::kernels {

inline constexpr std::size_t kResidualHeaderBytes = 64;

struct ResidualRange
{
  std::uint64_t first_element = 0;  // of the fragment; a multiple of 4096
  absl::Span<const float> values;
};
struct ResidualSlot
{
  std::uint64_t first_element = 0;
  absl::Span<float> values;
};

// Fills every slot from the ranges that cover it, bit for bit; what none covers becomes +0, since
// nothing is owed there. Ranges and slots ascend, each without overlap, and share no memory.
// kInvalidArgument, with nothing written, names the first that does not begin at a tile or overlaps
// the one before it.
absl::Status repartition(absl::Span<const ResidualRange> from, absl::Span<const ResidualSlot> to);

struct ResidualHeader
{
  std::uint32_t fragment = 0;
  std::uint64_t first_element = 0;
  std::uint64_t elements = 0;
  std::uint64_t generation = 0;  // counts the steps that were applied to it
  friend bool operator==(const ResidualHeader&, const ResidualHeader&) = default;
};
std::uint64_t exported_bytes(std::uint64_t elements);

// header.elements is values.size(). kInvalidArgument if `out` has not exactly exported_bytes().
absl::Status export_residual(const ResidualHeader& header, absl::Span<const float> values,
                             MutableByteSpan out);
// Checks untrusted bytes: kDataLoss names what is wrong, kUnimplemented is for another version.
absl::StatusOr<ResidualHeader> open_residual(ByteSpan bytes);
// The same, and the values. `out` has header.elements; nothing is written on failure.
absl::Status import_residual(ByteSpan bytes, absl::Span<float> out);

}  // namespace spillway::kernels
