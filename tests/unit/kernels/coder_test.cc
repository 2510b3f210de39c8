// SPDX-License-Identifier: Apache-2.0
#include "spillway/kernels/coder.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <tuple>

#include "hwy/targets.h"
#include "inputs.h"
#include "spillway/base/rng.h"

// What every backend must do, for every codec; and that all backends write the same bytes.
namespace spillway::kernels {
namespace {

constexpr std::size_t kCounts[] = {1, 63, 64, 255, 256, 257, 4095, 4096, 4097, 3 * 4096 + 1000};

bool is_exact(CodecId id)
{
  return id == CodecId::kQ8 || id == CodecId::kQ4 || id == CodecId::kRaw32 || id == CodecId::kRaw16;
}

// The reference, and the vector code for every instruction set that this machine has.
struct Way
{
  Backend backend = Backend::kReference;
  std::int64_t target = 0;
};
std::vector<Way> all_ways()
{
  std::vector<Way> out = {{}};
  for (const std::int64_t target : hwy::SupportedAndGeneratedTargets())
    out.push_back({Backend::kSimd, target});
  return out;
}
std::string name_of(const Way& way)
{
  return way.backend == Backend::kReference ? "reference" : hwy::TargetName(way.target);
}
void use(const Way& way)
{
  hwy::SetSupportedTargetsForTest(way.target);
  hwy::GetChosenTarget().Update(hwy::SupportedTargets());
}

class Coder : public testing::TestWithParam<std::tuple<int, Way>>
{
 protected:
  void SetUp() override { use(way()); }
  void TearDown() override { use({}); }
  const Way& way() const { return std::get<1>(GetParam()); }
  Codec codec() const { return all_codecs()[static_cast<std::size_t>(std::get<0>(GetParam()))]; }
  EncodeOptions encoding(int threads = 1) const { return {way().backend, threads}; }
  DecodeOptions decoding(int threads = 1) const { return {way().backend, threads, false}; }
};

INSTANTIATE_TEST_SUITE_P(All, Coder,
                         testing::Combine(testing::Range(0, 8), testing::ValuesIn(all_ways())),
                         [](const auto& info) {
                           const Codec codec =
                               all_codecs()[static_cast<std::size_t>(std::get<0>(info.param))];
                           return std::string(name_of(codec.id)) + "_" +
                                  name_of(std::get<1>(info.param));
                         });

TEST_P(Coder, WhatIsDecodedAndWhatIsLeftAreTheWhole)
{
  for (const Kind kind : kAllKinds)
  {
    if (kind == Kind::kPoison) continue;
    for (const std::size_t count : kCounts)
    {
      const std::vector<float> values = make_values(kind, count, count);
      const std::vector<float> zero(count, 0.0f);
      const EncodeCall call = must_encode(codec(), values, zero, encoding());
      const std::vector<float> decoded = must_decode(codec(), call.payload, count, decoding());
      EXPECT_EQ(call.poisoned, 0);
      for (std::size_t i = 0; i < count; ++i)
      {
        const float a = std::fmaf(1.0f, 0.0f, values[i]);
        ASSERT_EQ(bits(call.new_residual[i]), bits(a - decoded[i])) << i;
        if (!is_exact(codec().id)) continue;
        ASSERT_EQ(decoded[i] + call.new_residual[i], a) << i;
      }
    }
  }
}

TEST_P(Coder, FeedbackAddsTheOldResidual)
{
  for (const float beta : {1.0f, 0.95f})
  {
    const std::vector<float> values = make_values(Kind::kNormal, 5000, 1);
    const std::vector<float> residual = make_values(Kind::kNormal, 5000, 2);
    std::vector<float> together(values.size());
    for (std::size_t i = 0; i < values.size(); ++i)
      together[i] = std::fmaf(beta, residual[i], values[i]);
    const EncodeCall call = must_encode(codec(), values, residual, encoding(), beta);
    const EncodeCall plain = must_encode(codec(), together, {}, encoding());
    EXPECT_EQ(call.payload, plain.payload);
    const std::vector<float> decoded =
        must_decode(codec(), call.payload, values.size(), decoding());
    for (std::size_t i = 0; i < values.size(); ++i)
      ASSERT_EQ(bits(call.new_residual[i]), bits(together[i] - decoded[i])) << i;
  }
}

TEST_P(Coder, APoisonedBlockKeepsItsResidualAndDecodesToNan)
{
  const std::vector<float> values = make_values(Kind::kPoison, 20000, 3);
  const std::vector<float> residual = make_values(Kind::kNormal, values.size(), 4);
  const EncodeCall call = must_encode(codec(), values, residual, encoding());
  const std::vector<float> decoded = must_decode(codec(), call.payload, values.size(), decoding());
  EXPECT_GT(call.poisoned, 0);
  std::size_t kept = 0;
  for (std::size_t i = 0; i < values.size(); ++i)
  {
    if (!std::isfinite(values[i]))
    {
      ASSERT_FALSE(std::isfinite(decoded[i])) << i;
      ASSERT_EQ(bits(call.new_residual[i]), bits(residual[i])) << i;
    }
    kept += bits(call.new_residual[i]) == bits(residual[i]) ? 1 : 0;
    ASSERT_EQ(std::isnan(decoded[i]), bits(decoded[i]) == 0x7FC00000u) << i;
    ASSERT_FALSE(std::isnan(call.new_residual[i]));
  }
  EXPECT_GE(kept, call.poisoned);
}

TEST_P(Coder, EqualsTheReferenceBitForBit)
{
  for (const std::uint64_t seed : {0, 3, 5})
  {
    for (const Kind kind : kAllKinds)
    {
      const std::size_t count = kCounts[seed + 4];
      const std::vector<float> values = make_values(kind, count, seed);
      const std::vector<float> residual =
          make_values(seed % 2 == 0 ? Kind::kNormal : kind, count, seed + 100);
      for (const float beta : {1.0f, 0.95f})
      {
        SCOPED_TRACE(testing::Message() << "kind " << static_cast<int>(kind) << " seed " << seed);
        const EncodeCall wanted =
            must_encode(codec(), values, residual, {Backend::kReference, 1}, beta);
        const EncodeCall call = must_encode(codec(), values, residual, encoding(), beta);
        ASSERT_EQ(call.payload, wanted.payload);
        ASSERT_EQ(bits(call.new_residual), bits(wanted.new_residual));
        ASSERT_EQ(call.poisoned, wanted.poisoned);
        ASSERT_EQ(bits(must_decode(codec(), call.payload, count, decoding())),
                  bits(must_decode(codec(), call.payload, count, {Backend::kReference, 1})));
      }
    }
  }
}

TEST_P(Coder, EveryCountUpToATileAndOne)
{
  const std::vector<float> values = make_values(Kind::kHeavyTails, 4097, 9);
  for (std::size_t count = 0; count <= 4097; count += count < 300 ? 1 : 97)
  {
    const std::vector<float> some(values.begin(), values.begin() + static_cast<long>(count));
    const std::vector<float> residual(count, 0.001f);
    const EncodeCall wanted = must_encode(codec(), some, residual, {Backend::kReference, 1});
    const EncodeCall call = must_encode(codec(), some, residual, encoding());
    ASSERT_EQ(call.payload, wanted.payload) << count;
    ASSERT_EQ(bits(call.new_residual), bits(wanted.new_residual)) << count;
    const absl::Status status = verify(codec(), as_bytes(call.payload), count);
    ASSERT_TRUE(status.ok()) << status << " with " << count;
  }
}

TEST_P(Coder, ATensorCutAtATileIsTheSameCut)
{
  const std::size_t cut = 2 * kTileElements;
  const std::vector<float> values = make_values(Kind::kHeavyTails, 5 * kTileElements - 77, 5);
  const std::vector<float> front(values.begin(), values.begin() + cut);
  const std::vector<float> back(values.begin() + cut, values.end());
  const std::string whole = must_encode(codec(), values, {}, encoding()).payload;
  const std::string parts[] = {must_encode(codec(), front, {}, encoding()).payload,
                               must_encode(codec(), back, {}, encoding()).payload};
  const Layout of_whole = *layout_of(codec(), values.size());
  const Layout of_parts[] = {*layout_of(codec(), front.size()), *layout_of(codec(), back.size())};
  for (std::size_t s = 0; s < static_cast<std::size_t>(of_whole.count); ++s)
  {
    std::string joined;
    for (std::size_t p = 0; p < 2; ++p)
    {
      const Section& section = of_parts[p].sections[s];
      joined += parts[p].substr(section.offset_bytes, section.size_bytes);
    }
    const Section& section = of_whole.sections[s];
    EXPECT_EQ(whole.substr(section.offset_bytes, section.size_bytes), joined) << section.name;
  }
}

TEST_P(Coder, ThreadsDoNotChangeABit)
{
  const std::vector<float> values = make_values(Kind::kPoison, 100 * kTileElements + 5, 6);
  const std::vector<float> residual = make_values(Kind::kNormal, values.size(), 7);
  const EncodeCall one = must_encode(codec(), values, residual, encoding());
  const EncodeCall three = must_encode(codec(), values, residual, encoding(3));
  EXPECT_EQ(one.payload, three.payload);
  EXPECT_EQ(bits(one.new_residual), bits(three.new_residual));
  EXPECT_EQ(one.poisoned, three.poisoned);
  EXPECT_EQ(bits(must_decode(codec(), one.payload, values.size(), decoding())),
            bits(must_decode(codec(), one.payload, values.size(), decoding(3))));
}

TEST_P(Coder, TheLeastAlignmentIsEnough)
{
  const std::vector<float> values = make_values(Kind::kNormal, 9000, 8);
  for (std::size_t shift = 0; shift < 4; ++shift)
  {
    std::vector<float> shifted(values.size() + shift), residual(shifted.size(), 0.0f),
        fresh(shifted.size());
    std::copy(values.begin(), values.end(), shifted.begin() + static_cast<long>(shift));
    const Layout layout = *layout_of(codec(), values.size());
    std::string payload(layout.payload_bytes + 3, '\0');
    EncodeInput input{codec(), SourceType::kFp32, shifted.data() + shift, values.size()};
    input.residual = absl::MakeSpan(residual).subspan(shift);
    input.new_residual = absl::MakeSpan(fresh).subspan(shift);
    const MutableByteSpan out{reinterpret_cast<std::byte*>(payload.data()) + shift % 3,
                              layout.payload_bytes};
    ASSERT_TRUE(encode(input, out, encoding()).ok());
    EXPECT_EQ(payload.substr(shift % 3, layout.payload_bytes),
              must_encode(codec(), values, {}, encoding()).payload);
  }
}

TEST_P(Coder, HalfPrecisionIsWidened)
{
  Rng rng(11);
  for (const SourceType type : {SourceType::kBf16, SourceType::kFp16})
  {
    std::vector<std::uint16_t> halves(6000);
    std::vector<float> wide(halves.size());
    for (std::size_t i = 0; i < halves.size(); ++i)
    {
      halves[i] = static_cast<std::uint16_t>(rng.below(0x7C00) | rng.below(2) << 15);
      if (type == SourceType::kBf16)
        wide[i] = std::bit_cast<float>(std::uint32_t{halves[i]} << 16);
      else
      {
        const int exponent = halves[i] >> 10 & 31, mantissa = halves[i] & 1023;
        wide[i] = std::ldexp(static_cast<float>(exponent == 0 ? mantissa : 1024 + mantissa),
                             exponent == 0 ? -24 : exponent - 25);
        if (halves[i] >> 15 != 0) wide[i] = -wide[i];
      }
    }
    const Layout layout = *layout_of(codec(), halves.size());
    std::string payload(layout.payload_bytes, '\0');
    const EncodeInput input{codec(), type, halves.data(), halves.size()};
    ASSERT_TRUE(
        encode(input, {reinterpret_cast<std::byte*>(payload.data()), payload.size()}, encoding())
            .ok());
    EXPECT_EQ(payload, must_encode(codec(), wide, {}, encoding()).payload);
  }
}

TEST_P(Coder, ALeftOutFrameGivesItsValuesBack)
{
  const std::vector<float> values = make_values(Kind::kPoison, 9000, 12);
  const std::vector<float> residual = make_values(Kind::kNormal, values.size(), 13);
  EncodeCall call = must_encode(codec(), values, residual, encoding());
  const std::vector<float> decoded = must_decode(codec(), call.payload, values.size(), decoding());
  const std::vector<float> before = call.new_residual;
  ASSERT_TRUE(
      restore(codec(), as_bytes(call.payload), absl::MakeSpan(call.new_residual), decoding()).ok());
  for (std::size_t i = 0; i < values.size(); ++i)
  {
    if (!std::isfinite(decoded[i]))
      ASSERT_EQ(bits(call.new_residual[i]), bits(residual[i]));
    else if (is_exact(codec().id))
      ASSERT_EQ(call.new_residual[i], std::fmaf(1.0f, residual[i], values[i])) << i;
    else
      ASSERT_EQ(call.new_residual[i], decoded[i] + before[i]) << i;
  }
}

class Peers : public testing::TestWithParam<Way>
{
 protected:
  void SetUp() override { use(GetParam()); }
  void TearDown() override { use({}); }
};
INSTANTIATE_TEST_SUITE_P(All, Peers, testing::ValuesIn(all_ways()),
                         [](const auto& info) { return name_of(info.param); });

TEST_P(Peers, AreAddedInTheirOrderWithTheirWeights)
{
  const std::size_t count = 3 * kTileElements + 333;
  const float weights[] = {1.0f, 0.25f, 0.3f, -2.0f, 1.0f};
  const char* names[] = {"q8", "q4", "q2", "tk64", "raw32"};
  std::vector<std::string> payloads;
  std::vector<float> wanted = make_values(Kind::kNormal, count, 20);
  std::vector<float> out = wanted;
  std::vector<Contribution> from;
  for (std::size_t p = 0; p < 5; ++p)
    payloads.push_back(
        must_encode(named(names[p]), make_values(Kind::kHeavyTails, count, 30 + p)).payload);
  for (std::size_t p = 0; p < 5; ++p)
  {
    from.push_back({named(names[p]), as_bytes(payloads[p]), weights[p]});
    const std::vector<float> decoded =
        must_decode(named(names[p]), payloads[p], count, {Backend::kReference});
    for (std::size_t i = 0; i < count; ++i)
      wanted[i] = std::fmaf(weights[p], decoded[i], wanted[i]);
  }
  ASSERT_TRUE(decode(from, absl::MakeSpan(out), {GetParam().backend, 1, true}).ok());
  for (std::size_t i = 0; i < count; ++i) ASSERT_EQ(out[i], wanted[i]) << i;
}

}  // namespace
}  // namespace spillway::kernels
