// SPDX-License-Identifier: Apache-2.0
#include "served_state.h"

#include <algorithm>
#include <cstring>
#include <mutex>

#include "absl/strings/str_cat.h"
#include "spillway/base/check.h"
#include "spillway/base/hash.h"

namespace spillway::engine {
namespace {

bool shadowed(StateKind kind)
{
  return kind == StateKind::kBuffer || kind == StateKind::kScalar;
}

}  // namespace

ServedState::ServedState(const StateTable& table) : table_(table)
{
  std::size_t shadow_bytes = 0;
  for (const StateEntry& entry : table.entries())
    if (shadowed(entry.kind)) shadow_bytes += entry.bytes.size();
  shadow_.resize(shadow_bytes);
  std::size_t used = 0;
  for (std::size_t i = 0; i < table.entries().size(); ++i)
  {
    const StateEntry& entry = table.entries()[i];
    if (entry.bytes.empty()) continue;
    Piece piece{.begin = size_bytes_,
                .live = entry.bytes.data(),
                .bytes = entry.bytes.size(),
                .shadow = nullptr,
                .entry = i};
    if (shadowed(entry.kind))
    {
      piece.shadow = shadow_.data() + used;
      used += piece.bytes;
    }
    pieces_.push_back(piece);
    size_bytes_ += piece.bytes;
  }
}

// Calls visit(piece, offset inside it, offset inside the run, bytes) for all of a run.
template <typename Visit>
void ServedState::visit(std::uint64_t offset, std::uint64_t bytes, Visit visit) const
{
  SPILLWAY_CHECK(offset + bytes <= size_bytes_, "bytes ", offset, "+", bytes, " of ", size_bytes_);
  auto at = std::upper_bound(
      pieces_.begin(), pieces_.end(), offset,
      [](std::uint64_t wanted, const Piece& piece) { return wanted < piece.begin + piece.bytes; });
  for (std::uint64_t done = 0; done < bytes; ++at)
  {
    const std::uint64_t inside = offset + done - at->begin;
    const std::uint64_t part = std::min<std::uint64_t>(bytes - done, at->bytes - inside);
    visit(*at, inside, done, part);
    done += part;
  }
}

void ServedState::take_shadow()
{
  for (const Piece& piece : pieces_)
    if (piece.shadow != nullptr) std::memcpy(piece.shadow, piece.live, piece.bytes);
}

void ServedState::restore_shadow()
{
  for (const Piece& piece : pieces_)
    if (piece.shadow != nullptr) std::memcpy(piece.live, piece.shadow, piece.bytes);
}

void ServedState::open(StateName name)
{
  const std::unique_lock lock(mutex_);
  name_ = name;
}

void ServedState::close()
{
  const std::unique_lock lock(mutex_);
  name_.reset();
}

absl::Status ServedState::read(StateName name, std::uint64_t offset,
                               MutableByteSpan destination) const
{
  const std::shared_lock lock(mutex_);
  if (name_ != name)
    return absl::NotFoundError(absl::StrCat("state ", to_string(name), " is not held here now",
                                            name_ ? ", but " + to_string(*name_) : ""));
  if (offset > size_bytes_ || destination.size() > size_bytes_ - offset)
    return absl::OutOfRangeError(absl::StrCat("bytes ", offset, "+", destination.size(), " of ",
                                              size_bytes_, ": the models differ"));
  visit(offset, destination.size(),
        [&](const Piece& piece, std::uint64_t inside, std::uint64_t done, std::uint64_t bytes) {
          const std::byte* from = piece.shadow != nullptr ? piece.shadow : piece.live;
          std::memcpy(destination.data() + done, from + inside, bytes);
        });
  return absl::OkStatus();
}

void ServedState::write(std::uint64_t offset, ByteSpan source)
{
  visit(offset, source.size(),
        [&](const Piece& piece, std::uint64_t inside, std::uint64_t done, std::uint64_t bytes) {
          std::memcpy(piece.live + inside, source.data() + done, bytes);
        });
}

std::uint64_t ServedState::hash(std::uint64_t offset, std::uint64_t bytes) const
{
  std::uint64_t result = bytes;
  const auto fold = [&](const Piece& piece, std::uint64_t inside, std::uint64_t,
                        std::uint64_t part) {
    const std::byte* from = piece.shadow != nullptr ? piece.shadow : piece.live;
    result = hash_combine(result, content_hash({from + inside, part}));
  };
  while (bytes > 0)
  {
    const std::uint64_t part = std::min(bytes, size_bytes_ - offset);
    visit(offset, part, fold);
    bytes -= part;
    offset = 0;
  }
  return result;
}

std::uint64_t ServedState::live_hash() const
{
  std::uint64_t result = size_bytes_;
  for (const Piece& piece : pieces_)
    result = hash_combine(result, content_hash({piece.live, piece.bytes}));
  return result;
}

const StateEntry& ServedState::entry_at(std::uint64_t offset) const
{
  std::size_t entry = 0;
  visit(offset, 1, [&](const Piece& piece, std::uint64_t, std::uint64_t, std::uint64_t) {
    entry = piece.entry;
  });
  return table_.entries()[entry];
}

}  // namespace spillway::engine
