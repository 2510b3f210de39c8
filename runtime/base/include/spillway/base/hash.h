// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <memory>

#include "spillway/base/bytes.h"

namespace spillway {

// XXH3, 64 bits. The same value on every machine; not against an adversary.
std::uint64_t content_hash(ByteSpan bytes, std::uint64_t seed = 0);

// Order-dependent fold of one more value into a running hash.
std::uint64_t hash_combine(std::uint64_t hash, std::uint64_t value);

// 128 bits of XXH3 for content that is compared instead of copied.
struct Hash128
{
  std::uint64_t low = 0;
  std::uint64_t high = 0;
  friend bool operator==(const Hash128&, const Hash128&) = default;
};
Hash128 content_hash_128(ByteSpan bytes);

// content_hash_128() of content that lies nowhere in one piece: of all that was added, in order.
class ContentHasher128
{
 public:
  ContentHasher128();
  ~ContentHasher128();
  void add(ByteSpan bytes);
  Hash128 hash() const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace spillway
