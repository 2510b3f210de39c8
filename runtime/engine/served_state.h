// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <shared_mutex>
#include <vector>

#include "absl/status/status.h"
#include "spillway/base/bytes.h"
#include "spillway/base/ids.h"
#include "spillway/engine/state.h"

namespace spillway::engine {

// The registered state as one run of bytes, as it was when the loop asked for its step (P8).
// Parameters and optimizer state are read where they live, since they stand still until the apply;
// buffers and scalars from a shadow, since the loop changes them while it computes.
//
// read() may come from any thread at any time; everything else from the user thread. Whoever
// changes the live state closes this first, which waits for the piece being read.
class ServedState
{
 public:
  explicit ServedState(const StateTable& table);

  std::uint64_t size_bytes() const { return size_bytes_; }

  // While closed: copies buffers and scalars to the shadow, and back.
  void take_shadow();
  void restore_shadow();
  // From now on the state is what `name` names.
  void open(StateName name);
  void close();

  // kNotFound: another state is held, or none; the reader asks again or elsewhere.
  absl::Status read(StateName name, std::uint64_t offset, MutableByteSpan destination) const;
  // While closed: writes a copied piece to the live memory.
  void write(std::uint64_t offset, ByteSpan source);

  // Of `bytes` bytes from `offset` on, wrapping round at the end, shadow included.
  std::uint64_t hash(std::uint64_t offset, std::uint64_t bytes) const;
  // Of all live bytes.
  std::uint64_t live_hash() const;
  // The entry that holds the byte at `offset`.
  const StateEntry& entry_at(std::uint64_t offset) const;

 private:
  struct Piece
  {
    std::uint64_t begin = 0;
    std::byte* live = nullptr;
    std::size_t bytes = 0;
    std::byte* shadow = nullptr;  // nullptr: read where it lives
    std::size_t entry = 0;
  };
  template <typename Visit>
  void visit(std::uint64_t offset, std::uint64_t bytes, Visit visit) const;

  const StateTable& table_;
  std::uint64_t size_bytes_ = 0;
  std::vector<std::byte> shadow_;
  std::vector<Piece> pieces_;
  mutable std::shared_mutex mutex_;
  std::optional<StateName> name_;
};

}  // namespace spillway::engine
