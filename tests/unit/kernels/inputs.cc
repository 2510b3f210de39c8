// SPDX-License-Identifier: Apache-2.0
#include "inputs.h"

#include <bit>
#include <cmath>
#include <numbers>

#include "spillway/base/check.h"
#include "spillway/base/rng.h"

namespace spillway::kernels {
namespace {

// Uniform in (0, 1).
double uniform(Rng& rng)
{
  return (static_cast<double>(rng.next() >> 11) + 0.5) * 0x1p-53;
}

float normal(Rng& rng)
{
  const double radius = std::sqrt(-2 * std::log(uniform(rng)));
  return static_cast<float>(radius * std::cos(2 * std::numbers::pi * uniform(rng)));
}

float finite_bits(Rng& rng)
{
  for (;;)
  {
    const float value = std::bit_cast<float>(static_cast<std::uint32_t>(rng.next()));
    if (std::isfinite(value)) return value;
  }
}

float value_of(Kind kind, Rng& rng)
{
  switch (kind)
  {
    case Kind::kNormal:
      return 0.02f * normal(rng);
    case Kind::kHeavyTails: {
      const float a = normal(rng), b = normal(rng), c = normal(rng);
      return 0.02f * normal(rng) / std::sqrt((a * a + b * b + c * c) / 3);
    }
    case Kind::kZeros:
      return rng.below(2) == 0 ? 0.0f : -0.0f;
    case Kind::kSubnormals:
      return std::ldexp(normal(rng), -100 - static_cast<int>(rng.below(45)));
    case Kind::kHuge:
      return std::bit_cast<float>(0x7F7FFFFFu - static_cast<std::uint32_t>(rng.below(1 << 24)));
    case Kind::kPoison:
      if (rng.below(700) != 0) return normal(rng);
      return rng.below(2) == 0 ? std::nanf("") : (rng.below(2) == 0 ? INFINITY : -INFINITY);
    case Kind::kEqual:
      return rng.below(2) == 0 ? 0.375f : -0.375f;
    case Kind::kTies:
      return (static_cast<float>(rng.below(25)) - 12) * 0.5f;
    case Kind::kAnyFinite:
      return finite_bits(rng);
  }
  return 0;
}

}  // namespace

std::vector<float> make_values(Kind kind, std::size_t count, std::uint64_t seed)
{
  Rng rng(seed * 16 + static_cast<std::uint64_t>(kind));
  std::vector<float> out(count);
  for (float& value : out) value = value_of(kind, rng);
  return out;
}

EncodeCall must_encode(Codec codec, const std::vector<float>& values,
                       const std::vector<float>& residual, EncodeOptions options, float beta)
{
  const absl::StatusOr<Layout> layout = layout_of(codec, values.size());
  SPILLWAY_CHECK(layout.ok(), layout.status().ToString());
  EncodeCall out;
  out.payload.assign(layout->payload_bytes, '\x5A');
  out.new_residual.assign(residual.size(), 77.0f);
  EncodeInput input;
  input.codec = codec;
  input.values = values.data();
  input.elements = values.size();
  input.residual = residual;
  input.new_residual = absl::MakeSpan(out.new_residual);
  input.beta = beta;
  const absl::StatusOr<Encoded> encoded = encode(
      input, {reinterpret_cast<std::byte*>(out.payload.data()), out.payload.size()}, options);
  SPILLWAY_CHECK(encoded.ok(), encoded.status().ToString());
  out.poisoned = encoded->poisoned;
  return out;
}

std::vector<float> must_decode(Codec codec, const std::string& payload, std::size_t count,
                               DecodeOptions options)
{
  std::vector<float> out(count, 99.0f);
  const Contribution from{codec, as_bytes(payload), 1.0f};
  const absl::Status status = decode({&from, 1}, absl::MakeSpan(out), options);
  SPILLWAY_CHECK(status.ok(), status.ToString());
  return out;
}

std::uint32_t bits(float value)
{
  return std::bit_cast<std::uint32_t>(value);
}

std::vector<std::uint32_t> bits(const std::vector<float>& values)
{
  std::vector<std::uint32_t> out;
  for (const float value : values) out.push_back(bits(value));
  return out;
}

Codec named(const char* name)
{
  const absl::StatusOr<Codec> codec = find_codec(name);
  SPILLWAY_CHECK(codec.ok(), codec.status().ToString());
  return *codec;
}

}  // namespace spillway::kernels
