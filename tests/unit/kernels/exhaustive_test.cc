// SPDX-License-Identifier: Apache-2.0
// All 2^32 fp32 inputs through both backends, with one scale for each codec that has scales:
// payload, residual and what is decoded must have the same bits. SPILLWAY_EXHAUSTIVE_SCALES=32
// takes more scales; the first is that of the largest number, below which all others lie.
#include <algorithm>
#include <atomic>
#include <bit>
#include <cmath>
#include <cstring>
#include <mutex>
#include <thread>
#include <vector>

#include "absl/strings/numbers.h"
#include "gtest/gtest.h"
#include "spillway/base/environment.h"
#include "spillway/kernels/coder.h"

namespace spillway::kernels {
namespace {

constexpr std::uint64_t kInputs = std::uint64_t{1} << 32;
constexpr std::uint64_t kChunkBlocks = 4096;
constexpr float kLargest = 3.4028234663852886e38f;

struct Case
{
  const char* codec;
  std::uint64_t block;  // elements that share a scale
};
class Exhaustive : public testing::TestWithParam<Case>
{
};

// One after the other; the first element of each block pins the scale, and inputs that are larger,
// infinite or no number are 0 instead: they would make another scale or none.
void fill(std::vector<float>& values, std::uint64_t block, float largest, std::uint64_t next)
{
  for (std::size_t i = 0; i < values.size(); ++i)
  {
    if (i % block == 0)
    {
      values[i] = largest;
      continue;
    }
    const float value = std::bit_cast<float>(static_cast<std::uint32_t>(next++));
    values[i] = value >= -largest && value <= largest ? value : 0.0f;
  }
}

struct Coded
{
  explicit Coded(std::uint64_t elements, std::uint64_t payload_bytes)
      : payload(payload_bytes), residual(elements), decoded(elements)
  {
  }
  void run(const EncodeInput& from, Backend backend)
  {
    EncodeInput input = from;
    input.new_residual = absl::MakeSpan(residual);
    ASSERT_TRUE(encode(input, absl::MakeSpan(payload), {.backend = backend}).ok());
    const Contribution only{input.codec, payload, 1.0f};
    ASSERT_TRUE(decode({&only, 1}, absl::MakeSpan(decoded), {.backend = backend}).ok());
  }
  std::vector<std::byte> payload;
  std::vector<float> residual, decoded;
};

template <typename T>
bool same(const std::vector<T>& a, const std::vector<T>& b)
{
  return std::memcmp(a.data(), b.data(), a.size() * sizeof(T)) == 0;
}

// Chunks from the shared counter until all inputs are done; false with the first chunk that
// differs.
void compare_chunks(Codec codec, std::uint64_t block, float largest,
                    std::atomic<std::uint64_t>& next, std::atomic<std::uint64_t>& wrong)
{
  const std::uint64_t elements = kChunkBlocks * block;
  const std::uint64_t inputs = kChunkBlocks * (block - 1);
  const std::uint64_t bytes = layout_of(codec, elements)->payload_bytes;
  std::vector<float> values(elements), old(elements, 0.0f);
  Coded reference(elements, bytes), simd(elements, bytes);
  while (wrong == kInputs)
  {
    const std::uint64_t begin = next.fetch_add(inputs);
    if (begin >= kInputs) return;
    fill(values, block, largest, begin);
    const EncodeInput input{
        .codec = codec, .values = values.data(), .elements = elements, .residual = old};
    reference.run(input, Backend::kReference);
    simd.run(input, Backend::kSimd);
    if (!same(reference.payload, simd.payload) || !same(reference.residual, simd.residual) ||
        !same(reference.decoded, simd.decoded))
      wrong = begin;
  }
}

TEST_P(Exhaustive, BothBackendsGiveTheSameBitsForEveryInput)
{
  int scales = 1;
  const std::string wanted = environment("SPILLWAY_EXHAUSTIVE_SCALES").value_or("1");
  ASSERT_TRUE(absl::SimpleAtoi(wanted, &scales) && scales >= 1 && scales <= 32) << wanted;
  const Codec codec = find_codec(GetParam().codec).value();
  for (int scale = 0; scale < scales; ++scale)
  {
    const float largest = std::ldexp(kLargest, -8 * scale);
    std::atomic<std::uint64_t> next{0}, wrong{kInputs};
    const auto work = [&] { compare_chunks(codec, GetParam().block, largest, next, wrong); };
    std::vector<std::jthread> threads;
    for (unsigned i = 0; i < std::max(1u, std::thread::hardware_concurrency()); ++i)
      threads.emplace_back(work);
    threads.clear();
    EXPECT_EQ(wrong, kInputs) << "within " << kChunkBlocks * GetParam().block
                              << " inputs from bits " << std::hex << wrong << ", largest "
                              << largest;
  }
}

INSTANTIATE_TEST_SUITE_P(Codecs, Exhaustive,
                         testing::Values(Case{"raw16", 256}, Case{"q8", 256}, Case{"q4", 64},
                                         Case{"q2", 128}),
                         [](const auto& info) { return std::string(info.param.codec); });

}  // namespace
}  // namespace spillway::kernels
