// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <concepts>
#include <cstddef>
#include <cstring>
#include <string>
#include <type_traits>

#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"

namespace spillway {

using ByteSpan = absl::Span<const std::byte>;
using MutableByteSpan = absl::Span<std::byte>;

inline ByteSpan as_bytes(absl::string_view text)
{
  return {reinterpret_cast<const std::byte*>(text.data()), text.size()};
}
template <typename T>
requires std::is_trivially_copyable_v<T> ByteSpan object_bytes(const T& object)
{
  return {reinterpret_cast<const std::byte*>(&object), sizeof(T)};
}

// Appends little-endian numbers and length-prefixed (u32) strings to a buffer it owns.
class ByteWriter
{
 public:
  template <typename T>
  requires std::integral<T> || std::floating_point<T>
  void number(T value)
  {
    char bytes[sizeof(T)];
    std::memcpy(bytes, &value, sizeof(T));
    out_.append(bytes, sizeof(T));
  }
  void text(absl::string_view value)
  {
    number(static_cast<std::uint32_t>(value.size()));
    out_.append(value.data(), value.size());
  }
  const std::string& str() const { return out_; }
  std::string take() { return std::move(out_); }

 private:
  std::string out_;
};

// Reads what ByteWriter wrote, from untrusted bytes: never past the end, kDataLoss instead.
class ByteReader
{
 public:
  explicit ByteReader(ByteSpan bytes) : bytes_(bytes) {}
  template <typename T>
  requires std::integral<T> || std::floating_point<T> absl::StatusOr<T> number()
  {
    if (bytes_.size() < sizeof(T)) return short_by(sizeof(T));
    T value;
    std::memcpy(&value, bytes_.data(), sizeof(T));
    bytes_.remove_prefix(sizeof(T));
    return value;
  }
  absl::StatusOr<std::string> text()
  {
    auto size = number<std::uint32_t>();
    if (!size.ok()) return size.status();
    if (bytes_.size() < *size) return short_by(*size);
    std::string value(reinterpret_cast<const char*>(bytes_.data()), *size);
    bytes_.remove_prefix(*size);
    return value;
  }
  std::size_t remaining_bytes() const { return bytes_.size(); }

 private:
  absl::Status short_by(std::size_t wanted) const
  {
    return absl::DataLossError(
        absl::StrCat("message ends early: ", wanted, " bytes wanted, ", bytes_.size(), " left"));
  }
  ByteSpan bytes_;
};

}  // namespace spillway
