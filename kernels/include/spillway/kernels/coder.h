// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "spillway/base/bytes.h"
#include "spillway/kernels/codec.h"

// Payloads from numbers and numbers from payloads, on the CPU. Nothing is allocated and nothing is
// kept between calls; calls on different memory may run at once. The same input gives the same
// bytes from every backend, on every machine, with any number of threads.
namespace spillway::kernels {

// Which code does the work. All give the same bytes; kReference is the specification, slow.
enum class Backend
{
  kReference,
  kSimd,  // the widest vectors this machine has
};

struct EncodeInput
{
  Codec codec;
  SourceType type = SourceType::kFp32;
  const void* values = nullptr;  // aligned for their type
  std::uint64_t elements = 0;
  // Error feedback: a = beta * residual + value is encoded, and a - decoded goes to new_residual.
  // Both empty, or both of `elements`; never the same memory. Of a block that holds a NaN or an
  // infinity the new residual is the old one, bit for bit. The caller swaps the two when the step
  // is applied and drops the new one when it is aborted.
  absl::Span<const float> residual{};
  absl::Span<float> new_residual{};
  float beta = 1.0f;
};

struct EncodeOptions
{
  Backend backend = Backend::kSimd;
  int threads = 1;
};

struct Encoded
{
  // Blocks (Q8, Q4, Q2), tiles (TK) or elements (RAW) that held a NaN or an infinity.
  std::uint64_t poisoned = 0;
};

// Writes exactly layout_of(codec, elements).payload_bytes to `payload`, padding included.
// kInvalidArgument, with nothing written, for spans of a wrong size, misaligned or overlapping.
absl::StatusOr<Encoded> encode(const EncodeInput& input, MutableByteSpan payload,
                               const EncodeOptions& options = {});

// One sender's payload and its share in the sum.
struct Contribution
{
  Codec codec;
  ByteSpan payload;
  float weight = 1.0f;
};

struct DecodeOptions
{
  Backend backend = Backend::kSimd;
  int threads = 1;
  bool add = false;  // to what `out` holds; else `out` starts at +0
};

// out = out + w0 * d0 + w1 * d1 + …, in the order given, each an fma in fp32: callers pass
// ascending site ids. A poisoned block gives the canonical NaN. Scales, levels and records of all
// payloads are checked before `out` is touched: kDataLoss names the contribution, section and tile.
// Every value of a code has a meaning, so that no payload makes decode() leave its spans.
absl::Status decode(absl::Span<const Contribution> contributions, absl::Span<float> out,
                    const DecodeOptions& options = {});

// Adds the decoded value of a frame that a step left out back to the residual, so that nothing is
// lost: residual += decoded, rounded once. Poisoned blocks add nothing.
absl::Status restore(Codec codec, ByteSpan payload, absl::Span<float> residual,
                     const DecodeOptions& options = {});

// Whether an encoder can have written these bytes: scales, codes, records, and zeros where SPEC.md
// wants zeros. decode() asks for less. kDataLoss names the section, the tile and the byte.
absl::Status verify(Codec codec, ByteSpan payload, std::uint64_t elements);

}  // namespace spillway::kernels
