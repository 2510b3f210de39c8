// SPDX-License-Identifier: Apache-2.0
#include "spillway/engine/state.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "spillway/base/hash.h"

namespace spillway::engine {
namespace {

std::string line_of(const StateEntry& entry)
{
  return absl::StrCat(name_of(entry.kind), " ", entry.name, " ", entry.dtype, " [",
                      absl::StrJoin(entry.shape, ", "), "] ", entry.bytes.size(), " bytes");
}

}  // namespace

absl::string_view name_of(StateKind kind)
{
  switch (kind)
  {
    case StateKind::kParameter:
      return "parameter";
    case StateKind::kOptimizer:
      return "optimizer";
    case StateKind::kBuffer:
      return "buffer";
    case StateKind::kScalar:
      return "scalar";
  }
  return "?";
}

absl::Status StateTable::add(StateEntry entry)
{
  if (entry.name.empty()) return absl::InvalidArgumentError("a registered state has no name");
  if (names_.contains(entry.name))
    return absl::InvalidArgumentError(
        absl::StrCat("state '", entry.name, "' is registered twice; give it another name"));
  std::uint64_t count = 1;
  for (const std::int64_t extent : entry.shape)
  {
    if (extent < 0)
      return absl::InvalidArgumentError(
          absl::StrCat("state '", entry.name, "' has a negative extent"));
    count *= static_cast<std::uint64_t>(extent);
  }
  const bool fits = count == 0 ? entry.bytes.empty() : entry.bytes.size() % count == 0;
  if (!fits)
    return absl::InvalidArgumentError(absl::StrCat("state '", entry.name, "' has ",
                                                   entry.bytes.size(), " bytes for ", count,
                                                   " elements; register it contiguous"));
  names_.insert(entry.name);
  size_bytes_ += entry.bytes.size();
  entries_.push_back(std::move(entry));
  return absl::OkStatus();
}

std::uint64_t StateTable::layout_hash() const
{
  std::uint64_t hash = content_hash({});
  for (const StateEntry& entry : entries_)
    hash = hash_combine(hash, content_hash(as_bytes(line_of(entry))));
  return hash;
}

}  // namespace spillway::engine
