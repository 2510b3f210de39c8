// SPDX-License-Identifier: Apache-2.0
// Residuals over changes of owners, and as bytes.
#include "spillway/kernels/residual.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>
#include <vector>

#include "spillway/base/rng.h"

namespace spillway::kernels {
namespace {

using testing::HasSubstr;

std::vector<float> any_bits(Rng& rng, std::size_t count)
{
  std::vector<float> out(count);
  for (float& value : out)
  {
    const auto bits = static_cast<std::uint32_t>(rng.next());
    std::memcpy(&value, &bits, sizeof value);
  }
  return out;
}
bool same_bits(absl::Span<const float> a, absl::Span<const float> b)
{
  return a.size() == b.size() &&
         (a.empty() || std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0);
}

// Cuts [0, elements) at random tiles; some pieces may be left out.
std::vector<std::pair<std::uint64_t, std::uint64_t>> random_cut(Rng& rng, std::uint64_t elements,
                                                                bool gaps)
{
  std::vector<std::pair<std::uint64_t, std::uint64_t>> out;
  for (std::uint64_t begin = 0; begin < elements;)
  {
    const std::uint64_t end = std::min(elements, begin + (1 + rng.below(4)) * kTileElements);
    if (!gaps || rng.chance(0.8)) out.emplace_back(begin, end);
    begin = end;
  }
  return out;
}

TEST(Residual, IsCutAnewBitForBitAndWhatNobodyHeldIsZero)
{
  for (std::uint64_t seed = 1; seed <= 200; ++seed)
  {
    SCOPED_TRACE(seed);
    Rng rng(seed);
    const std::uint64_t elements = 1 + rng.below(20 * kTileElements);
    const std::vector<float> whole = any_bits(rng, elements);
    std::vector<float> wanted(elements, 0.0f);
    std::vector<ResidualRange> from;
    for (const auto& [begin, end] : random_cut(rng, elements, true))
    {
      from.push_back({begin, absl::MakeConstSpan(whole).subspan(begin, end - begin)});
      std::copy(whole.begin() + static_cast<std::ptrdiff_t>(begin),
                whole.begin() + static_cast<std::ptrdiff_t>(end),
                wanted.begin() + static_cast<std::ptrdiff_t>(begin));
    }
    std::vector<std::vector<float>> memory;
    std::vector<ResidualSlot> to;
    for (const auto& [begin, end] : random_cut(rng, elements, false))
      memory.emplace_back(end - begin, 7.0f);
    std::uint64_t at = 0;
    for (std::vector<float>& slot : memory)
    {
      to.push_back({at, absl::MakeSpan(slot)});
      at += slot.size();
    }
    // The cuts of `to` come from the sizes, which are those of a cut at tiles.
    ASSERT_EQ(repartition(from, to), absl::OkStatus());
    for (const ResidualSlot& slot : to)
      EXPECT_TRUE(same_bits(slot.values, absl::MakeConstSpan(wanted).subspan(slot.first_element,
                                                                             slot.values.size())));
  }
}

TEST(Residual, RangesThatAreNoRangesAreRefusedBeforeAnythingIsWritten)
{
  const std::vector<float> values(2 * kTileElements, 1.0f);
  std::vector<float> out(2 * kTileElements, 7.0f);
  const auto all = absl::MakeConstSpan(values);
  const std::vector<ResidualSlot> slot = {{0, absl::MakeSpan(out)}};
  const auto refusal = [&](std::vector<ResidualRange> from, std::vector<ResidualSlot> to) {
    return std::string(repartition(from, to).message());
  };
  EXPECT_THAT(refusal({{1, all}}, slot), HasSubstr("`from` 0 at element 1 does not begin"));
  EXPECT_THAT(refusal({{0, all}, {kTileElements, all}}, slot), HasSubstr("overlaps"));
  EXPECT_THAT(refusal({{kTileElements, all}, {0, all}}, slot), HasSubstr("overlaps"));
  EXPECT_THAT(refusal({{0, all}}, {{5, absl::MakeSpan(out)}}), HasSubstr("`to` 0 at element 5"));
  EXPECT_THAT(refusal({{kMostElements * 2, all}}, slot), HasSubstr("beyond"));
  EXPECT_TRUE(std::all_of(out.begin(), out.end(), [](float v) { return v == 7.0f; }));
}

TEST(Residual, TravelsAsBytes)
{
  Rng rng(3);
  for (const std::size_t count : {0, 1, 4096, 5000})
  {
    const std::vector<float> values = any_bits(rng, count);
    const ResidualHeader header{
        .fragment = 3, .first_element = 5 * kTileElements, .elements = count, .generation = 99};
    std::vector<std::byte> bytes(exported_bytes(count));
    ASSERT_EQ(export_residual(header, values, absl::MakeSpan(bytes)), absl::OkStatus());
    EXPECT_EQ(open_residual(bytes).value(), header);
    std::vector<float> back(count, 7.0f);
    ASSERT_EQ(import_residual(bytes, absl::MakeSpan(back)), absl::OkStatus());
    EXPECT_TRUE(same_bits(back, values));
  }
}

TEST(Residual, EveryFlippedBitAndEveryLengthIsNoticed)
{
  Rng rng(4);
  const std::vector<float> values = any_bits(rng, 40);
  std::vector<std::byte> bytes(exported_bytes(values.size()));
  const ResidualHeader header{.elements = values.size()};
  ASSERT_EQ(export_residual(header, values, absl::MakeSpan(bytes)), absl::OkStatus());
  std::vector<float> out(values.size(), 7.0f);
  for (std::size_t bit = 0; bit < 8 * bytes.size(); ++bit)
  {
    std::vector<std::byte> bad = bytes;
    bad[bit / 8] ^= static_cast<std::byte>(1u << (bit % 8));
    EXPECT_EQ(import_residual(bad, absl::MakeSpan(out)).code(), absl::StatusCode::kDataLoss)
        << "bit " << bit;
  }
  for (std::size_t size = 0; size < bytes.size(); ++size)
    EXPECT_EQ(open_residual(ByteSpan(bytes).first(size)).status().code(),
              absl::StatusCode::kDataLoss);
  bytes.push_back({});
  EXPECT_EQ(open_residual(bytes).status().code(), absl::StatusCode::kDataLoss);
  EXPECT_TRUE(std::all_of(out.begin(), out.end(), [](float v) { return v == 7.0f; }));
}

TEST(Residual, WrongArgumentsAreNamed)
{
  const std::vector<float> values(10);
  std::vector<std::byte> bytes(exported_bytes(10));
  const auto says = [&](const ResidualHeader& header, std::size_t size) {
    return std::string(
        export_residual(header, values, MutableByteSpan(bytes).first(size)).message());
  };
  EXPECT_THAT(says({.elements = 9}, bytes.size()), HasSubstr("9 elements, `values` has 10"));
  EXPECT_THAT(says({.first_element = 8, .elements = 10}, bytes.size()), HasSubstr("not at 8"));
  EXPECT_THAT(says({.elements = 10}, 50), HasSubstr("50 bytes; 10 elements need 104"));
  ASSERT_EQ(export_residual({.elements = 10}, values, absl::MakeSpan(bytes)), absl::OkStatus());
  std::vector<float> out(9);
  EXPECT_THAT(std::string(import_residual(bytes, absl::MakeSpan(out)).message()),
              HasSubstr("`out` has 9 elements, the residual 10"));
}

}  // namespace
}  // namespace spillway::kernels
