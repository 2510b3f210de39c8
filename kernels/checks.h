// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "tile_coder.h"

// What arguments and untrusted payloads must satisfy before a backend sees them.
namespace spillway::kernels {

absl::Status check_encode(const EncodeInput& input, const Layout& layout, MutableByteSpan payload);
absl::Status check_threads(int threads);
absl::Status check_out(absl::Span<const float> out, ByteSpan payload, absl::string_view name);

// Scales, levels and records: what a decoder relies on. `which` names the payload in messages.
absl::Status check_payload(Codec codec, const Layout& layout, ByteSpan payload,
                           absl::string_view which);
absl::Status check_payload_size(Codec codec, const Layout& layout, ByteSpan payload,
                                std::uint64_t elements, absl::string_view which);

// A scale or mean that an encoder of `id` can have written.
bool is_scale(CodecId id, std::uint16_t scale);

}  // namespace spillway::kernels
