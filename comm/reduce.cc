// SPDX-License-Identifier: Apache-2.0
#include "reduce.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <limits>
#include <type_traits>

#include "spillway/base/check.h"

namespace spillway::comm {
namespace {

// How an element is stored, and in which type it is folded.
template <typename T>
struct Plain
{
  using Stored = T;
  using Folded = T;
  static T widen(T value) { return value; }
  static T narrow(T value)
  {
    if constexpr (std::is_floating_point_v<T>)
      return value == value ? value : std::numeric_limits<T>::quiet_NaN();
    else
      return value;
  }
};

struct Bf16
{
  using Stored = std::uint16_t;
  using Folded = float;
  static float widen(std::uint16_t value)
  {
    return std::bit_cast<float>(static_cast<std::uint32_t>(value) << 16);
  }
  static std::uint16_t narrow(float value)
  {
    const auto bits = std::bit_cast<std::uint32_t>(value);
    const std::uint32_t rounded = (bits + 0x7fffU + ((bits >> 16) & 1U)) >> 16;
    return static_cast<std::uint16_t>(value == value ? rounded : 0x7fc0U);
  }
};

struct Fp16
{
  using Stored = std::uint16_t;
  using Folded = float;
  static float widen(std::uint16_t value)
  {
    const std::uint32_t sign = static_cast<std::uint32_t>(value & 0x8000U) << 16;
    const std::uint32_t magnitude = value & 0x7fffU;
    // A subnormal goes through an integer conversion and not through a subnormal float, so a
    // thread that flushes those computes the same.
    const float small = static_cast<float>(static_cast<std::int32_t>(magnitude)) * 0x1p-24F;
    const std::uint32_t normal =
        (magnitude << 13) + (magnitude < 0x7c00U ? 0x38000000U : 0x70000000U);
    const std::uint32_t bits = magnitude < 0x0400U ? std::bit_cast<std::uint32_t>(small) : normal;
    return std::bit_cast<float>(bits | sign);
  }
  static std::uint16_t narrow(float value)
  {
    const auto bits = std::bit_cast<std::uint32_t>(value);
    const std::uint32_t sign = (bits >> 16) & 0x8000U;
    const std::uint32_t magnitude = bits & 0x7fffffffU;
    // Below the smallest normal: adding 0.5 leaves the rounded multiple of 2^-24 in the low bits.
    const std::uint32_t small =
        std::bit_cast<std::uint32_t>(std::bit_cast<float>(magnitude) + 0.5F) - 0x3f000000U;
    const std::uint32_t normal =
        (magnitude - 0x38000000U + 0xfffU + ((magnitude >> 13) & 1U)) >> 13;
    const std::uint32_t finite = magnitude < 0x38800000U ? small : normal;
    const std::uint32_t large = magnitude > 0x7f800000U ? 0x7e00U : 0x7c00U;
    const std::uint32_t result = magnitude < 0x47800000U ? finite : large;
    return static_cast<std::uint16_t>(magnitude > 0x7f800000U ? result : result | sign);
  }
};

struct Sum
{
  template <typename T>
  static T fold(T acc, T next)
  {
    if constexpr (std::is_integral_v<T>)
    {
      using Unsigned = std::make_unsigned_t<T>;
      return static_cast<T>(static_cast<Unsigned>(acc) + static_cast<Unsigned>(next));
    }
    else
    {
      return acc + next;
    }
  }
};

// `next != next` takes a NaN in; afterwards no comparison takes it out again.
struct Min
{
  template <typename T>
  static T fold(T acc, T next)
  {
    return (next < acc || next != next) ? next : acc;
  }
};
struct Max
{
  template <typename T>
  static T fold(T acc, T next)
  {
    return (next > acc || next != next) ? next : acc;
  }
};

// Block by block through aligned buffers in the first-level cache: any alignment of the spans is
// legal, and the inner loops vectorize.
template <typename Element, typename Op>
void reduce_as(absl::Span<const std::byte* const> sources, std::byte* destination,
               std::uint64_t count)
{
  using Stored = typename Element::Stored;
  using Folded = typename Element::Folded;
  constexpr std::size_t kBlock = 1024;
  alignas(64) Stored stored[kBlock];
  alignas(64) Folded folded[kBlock];
  for (std::uint64_t begin = 0; begin < count; begin += kBlock)
  {
    const std::size_t n = std::min<std::uint64_t>(kBlock, count - begin);
    const std::size_t offset = begin * sizeof(Stored);
    std::memcpy(stored, sources[0] + offset, n * sizeof(Stored));
    for (std::size_t i = 0; i < n; ++i) folded[i] = Element::widen(stored[i]);
    for (const std::byte* source : sources.subspan(1))
    {
      std::memcpy(stored, source + offset, n * sizeof(Stored));
      for (std::size_t i = 0; i < n; ++i)
        folded[i] = Op::template fold<Folded>(folded[i], Element::widen(stored[i]));
    }
    for (std::size_t i = 0; i < n; ++i) stored[i] = Element::narrow(folded[i]);
    std::memcpy(destination + offset, stored, n * sizeof(Stored));
  }
}

template <typename Element>
void reduce_with(ReduceOp op, absl::Span<const std::byte* const> sources, std::byte* destination,
                 std::uint64_t count)
{
  switch (op)
  {
    case ReduceOp::kSum:
      return reduce_as<Element, Sum>(sources, destination, count);
    case ReduceOp::kMin:
      return reduce_as<Element, Min>(sources, destination, count);
    case ReduceOp::kMax:
      return reduce_as<Element, Max>(sources, destination, count);
  }
}

}  // namespace

void reduce(DType dtype, ReduceOp op, absl::Span<const std::byte* const> sources,
            std::byte* destination, std::uint64_t count)
{
  SPILLWAY_CHECK(!sources.empty());
  switch (dtype)
  {
    case DType::kFp32:
      return reduce_with<Plain<float>>(op, sources, destination, count);
    case DType::kFp64:
      return reduce_with<Plain<double>>(op, sources, destination, count);
    case DType::kBf16:
      return reduce_with<Bf16>(op, sources, destination, count);
    case DType::kFp16:
      return reduce_with<Fp16>(op, sources, destination, count);
    case DType::kInt32:
      return reduce_with<Plain<std::int32_t>>(op, sources, destination, count);
    case DType::kInt64:
      return reduce_with<Plain<std::int64_t>>(op, sources, destination, count);
  }
}

}  // namespace spillway::comm
