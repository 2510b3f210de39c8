// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

#include "absl/strings/string_view.h"
#include "spillway/base/bytes.h"
#include "spillway/base/hash.h"

namespace spillway::coordinator {

// Covers the name, so that a record that turns up under another job is refused as well.
inline std::uint64_t record_checksum(absl::string_view job, absl::string_view record)
{
  return hash_combine(content_hash(as_bytes(job)), content_hash(as_bytes(record)));
}

}  // namespace spillway::coordinator
