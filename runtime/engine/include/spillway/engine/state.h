// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>
#include <unordered_set>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "spillway/base/bytes.h"

namespace spillway::engine {

// What an entry is decides what happens to it between steps.
enum class StateKind : std::uint8_t
{
  kParameter,  // changes only in apply: served to joiners live, never restored after an abort
  kOptimizer,  // as kParameter
  kBuffer,     // the loop changes it while it computes (batch-norm statistics): kept in a shadow,
               // which is served and which an abort puts back
  kScalar,     // as kBuffer, for small plain values of the user or of the adapter
};

struct StateEntry
{
  std::string name;
  std::string dtype;  // as the adapter calls it; only compared and shown
  std::vector<std::int64_t> shape;
  StateKind kind = StateKind::kParameter;
  MutableByteSpan bytes;  // owned by whoever registered it
};

// The registered state of one replica: every byte that makes two replicas equal, in one order.
// The memory of the entries belongs to the caller, stays at its address and outlives the engine.
// Between begin_step() and the next begin_step() only the user thread writes it, kParameter and
// kOptimizer only inside ReplicaCallbacks::apply. Not thread-safe while entries are added.
class StateTable
{
 public:
  // kInvalidArgument: the name is taken, or shape and bytes do not fit each other.
  absl::Status add(StateEntry entry);

  absl::Span<const StateEntry> entries() const { return entries_; }
  std::uint64_t size_bytes() const { return size_bytes_; }

  // Names, types, shapes, kinds and order; not the values.
  std::uint64_t layout_hash() const;

 private:
  std::vector<StateEntry> entries_;
  std::unordered_set<std::string> names_;
  std::uint64_t size_bytes_ = 0;
};

absl::string_view name_of(StateKind kind);

}  // namespace spillway::engine
