// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstdint>

#include "absl/types/span.h"

namespace spillway {

// Philox4x32-10 (Salmon et al., SC 2011): four random words as a pure function of a 128-bit
// counter and a 64-bit key. The same bits everywhere.
std::array<std::uint32_t, 4> philox4x32(std::array<std::uint32_t, 4> counter,
                                        std::array<std::uint32_t, 2> key);

// 64 random bits named by up to three numbers under one seed; what P9 seeds generators with.
std::uint64_t philox_u64(std::uint64_t seed, std::uint64_t a, std::uint64_t b = 0);

// A stream of random numbers from one seed, for schedules and jitter. Not thread-safe; copy it to
// fork the stream.
class Rng
{
 public:
  explicit Rng(std::uint64_t seed) : seed_(seed) {}
  std::uint64_t next();
  // Uniform in [0, bound); bound > 0. Unbiased.
  std::uint64_t below(std::uint64_t bound);
  // Uniform in [0, 1).
  double unit();
  bool chance(double probability) { return unit() < probability; }
  template <typename Container>
  auto& pick(Container& items)
  {
    return items[static_cast<std::size_t>(below(items.size()))];
  }

 private:
  std::uint64_t seed_;
  std::uint64_t drawn_ = 0;
};

// `bytes` random bytes from the operating system, for lineages and keys.
void secure_random(absl::Span<std::uint8_t> bytes);
std::uint64_t secure_random_u64();

}  // namespace spillway
