// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "spillway/kernels/coder.h"

// Numbers to encode: each kind brings out another rule of the specification.
namespace spillway::kernels {

enum class Kind
{
  kNormal,
  kHeavyTails,  // Student's t with 3 degrees of freedom
  kZeros,       // of both signs
  kSubnormals,
  kHuge,       // up to the largest finite number
  kPoison,     // normal, with a NaN or an infinity here and there
  kEqual,      // one magnitude, both signs
  kTies,       // multiples of a half of few sizes
  kAnyFinite,  // random bits
};
inline constexpr Kind kAllKinds[] = {Kind::kNormal,     Kind::kHeavyTails, Kind::kZeros,
                                     Kind::kSubnormals, Kind::kHuge,       Kind::kPoison,
                                     Kind::kEqual,      Kind::kTies,       Kind::kAnyFinite};

std::vector<float> make_values(Kind kind, std::size_t count, std::uint64_t seed);

// A call of encode() with what it wrote.
struct EncodeCall
{
  std::string payload;
  std::vector<float> new_residual;
  std::uint64_t poisoned = 0;
};
EncodeCall must_encode(Codec codec, const std::vector<float>& values,
                       const std::vector<float>& residual = {}, EncodeOptions options = {},
                       float beta = 1.0f);
std::vector<float> must_decode(Codec codec, const std::string& payload, std::size_t count,
                               DecodeOptions options = {});

std::uint32_t bits(float value);
std::vector<std::uint32_t> bits(const std::vector<float>& values);
Codec named(const char* name);

}  // namespace spillway::kernels
