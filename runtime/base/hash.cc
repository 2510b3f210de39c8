// SPDX-License-Identifier: Apache-2.0
#include "spillway/base/hash.h"

// Of a streaming state this shows the size.
#define XXH_STATIC_LINKING_ONLY
#include <xxhash.h>

namespace spillway {

std::uint64_t content_hash(ByteSpan bytes, std::uint64_t seed)
{
  return XXH3_64bits_withSeed(bytes.data(), bytes.size(), seed);
}

std::uint64_t hash_combine(std::uint64_t hash, std::uint64_t value)
{
  const std::uint64_t pair[2] = {hash, value};
  return XXH3_64bits(pair, sizeof(pair));
}

Hash128 content_hash_128(ByteSpan bytes)
{
  const XXH128_hash_t hash = XXH3_128bits(bytes.data(), bytes.size());
  return {hash.low64, hash.high64};
}

struct ContentHasher128::State
{
  XXH3_state_t xxh3;
};
ContentHasher128::ContentHasher128() : state_(std::make_unique<State>())
{
  XXH3_128bits_reset(&state_->xxh3);
}
ContentHasher128::~ContentHasher128() = default;
void ContentHasher128::add(ByteSpan bytes)
{
  XXH3_128bits_update(&state_->xxh3, bytes.data(), bytes.size());
}
Hash128 ContentHasher128::hash() const
{
  const XXH128_hash_t hash = XXH3_128bits_digest(&state_->xxh3);
  return {hash.low64, hash.high64};
}

}  // namespace spillway
