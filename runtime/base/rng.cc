// SPDX-License-Identifier: Apache-2.0
#include "spillway/base/rng.h"

#include <openssl/rand.h>

#include "spillway/base/check.h"

namespace spillway {
namespace {

constexpr std::uint64_t kMultiplier0 = 0xD2511F53;
constexpr std::uint64_t kMultiplier1 = 0xCD9E8D57;
constexpr std::uint32_t kWeyl0 = 0x9E3779B9;
constexpr std::uint32_t kWeyl1 = 0xBB67AE85;

std::uint32_t low(std::uint64_t value)
{
  return static_cast<std::uint32_t>(value);
}
std::uint32_t high(std::uint64_t value)
{
  return static_cast<std::uint32_t>(value >> 32);
}

}  // namespace

std::array<std::uint32_t, 4> philox4x32(std::array<std::uint32_t, 4> c,
                                        std::array<std::uint32_t, 2> k)
{
  for (int round = 0; round < 10; ++round)
  {
    const std::uint64_t p0 = kMultiplier0 * c[0];
    const std::uint64_t p1 = kMultiplier1 * c[2];
    c = {high(p1) ^ c[1] ^ k[0], low(p1), high(p0) ^ c[3] ^ k[1], low(p0)};
    k[0] += kWeyl0;
    k[1] += kWeyl1;
  }
  return c;
}

std::uint64_t philox_u64(std::uint64_t seed, std::uint64_t a, std::uint64_t b)
{
  const auto out = philox4x32({low(a), high(a), low(b), high(b)}, {low(seed), high(seed)});
  return std::uint64_t{out[0]} | std::uint64_t{out[1]} << 32;
}

std::uint64_t Rng::next()
{
  return philox_u64(seed_, drawn_++);
}

std::uint64_t Rng::below(std::uint64_t bound)
{
  SPILLWAY_CHECK(bound > 0);
  const std::uint64_t limit = UINT64_MAX - UINT64_MAX % bound;
  for (;;)
  {
    const std::uint64_t value = next();
    if (value < limit) return value % bound;
  }
}

double Rng::unit()
{
  return static_cast<double>(next() >> 11) * 0x1.0p-53;
}

void secure_random(absl::Span<std::uint8_t> bytes)
{
  SPILLWAY_CHECK(RAND_bytes(bytes.data(), static_cast<int>(bytes.size())) == 1,
                 "the system has no randomness to give");
}

std::uint64_t secure_random_u64()
{
  std::array<std::uint8_t, 8> bytes{};
  secure_random(absl::MakeSpan(bytes));
  std::uint64_t value = 0;
  for (std::uint8_t byte : bytes) value = value << 8 | byte;
  return value;
}

}  // namespace spillway
