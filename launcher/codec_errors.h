// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "spillway/base/bytes.h"
#include "spillway/kernels/coder.h"

namespace spillway {

// What a codec makes of a tensor, without error feedback: what one step loses.
struct CodecErrors
{
  kernels::Codec codec;
  std::uint64_t frame_bytes = 0;
  double ratio = 0;      // bytes of fp32 to bytes of the frame
  double snr_db = 0;     // of values to errors; infinite without an error
  double cosine = 0;     // of the values and what is decoded
  double max_error = 0;  // the largest of |value - decoded|
  std::uint64_t poisoned = 0;
};

// Every codec on `values` (of `type`, aligned for it). Blocks that are poisoned count in `poisoned`
// and nowhere else. kInvalidArgument for bytes that are no whole number of elements.
absl::StatusOr<std::vector<CodecErrors>> codec_errors(ByteSpan values, kernels::SourceType type,
                                                      int threads);

std::string to_text(const std::vector<CodecErrors>& errors);
std::string to_json(const std::vector<CodecErrors>& errors);

}  // namespace spillway
