// SPDX-License-Identifier: Apache-2.0
#include "spillway/kernels/codec.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "inputs.h"

namespace spillway::kernels {
namespace {

using testing::HasSubstr;

std::uint64_t payload_bytes(const char* name, std::uint64_t elements)
{
  return layout_of(named(name), elements)->payload_bytes;
}

TEST(Layout, SizesDependOnCodecAndCountAlone)
{
  EXPECT_EQ(payload_bytes("raw32", 3), 128);
  EXPECT_EQ(payload_bytes("raw32", 33), 256);
  EXPECT_EQ(payload_bytes("raw16", 64), 128);
  // One tile: 16 scales and 4096 codes.
  EXPECT_EQ(payload_bytes("q8", 1), 128 + 4096);
  EXPECT_EQ(payload_bytes("q8", 4096), 128 + 4096);
  EXPECT_EQ(payload_bytes("q8", 4097), 128 + 8192);
  EXPECT_EQ(payload_bytes("q4", 4096), 128 + 2048);
  EXPECT_EQ(payload_bytes("q2", 4096), 128 + 1024);
  EXPECT_EQ(payload_bytes("tk64", 4096), 4 * 128);
  for (const Codec codec : all_codecs()) EXPECT_EQ(layout_of(codec, 0)->payload_bytes, 0);
}

TEST(Layout, LargePayloadsHaveThePromisedBitsPerElement)
{
  const std::uint64_t elements = 1ull << 30;
  const auto bits = [&](const char* name) {
    return 8.0 * static_cast<double>(payload_bytes(name, elements)) / static_cast<double>(elements);
  };
  EXPECT_DOUBLE_EQ(bits("q8"), 8.0625);
  EXPECT_DOUBLE_EQ(bits("q4"), 4.25);
  EXPECT_DOUBLE_EQ(bits("q2"), 2.125);
  EXPECT_DOUBLE_EQ(bits("tk32"), 48 * 8 / 4096.0);
  EXPECT_DOUBLE_EQ(bits("tk64"), 84 * 8 / 4096.0);
  EXPECT_DOUBLE_EQ(bits("tk128"), 148 * 8 / 4096.0);
}

TEST(Layout, SectionsAreAlignedAndDoNotOverlap)
{
  for (const Codec codec : all_codecs())
  {
    for (const std::uint64_t elements : {1ull, 255ull, 4096ull, 4097ull, 1000003ull})
    {
      const absl::StatusOr<Layout> layout = layout_of(codec, elements);
      ASSERT_TRUE(layout.ok());
      std::uint64_t end = 0;
      for (const Section& section : layout->all())
      {
        EXPECT_EQ(section.offset_bytes % 128, 0);
        EXPECT_GE(section.offset_bytes, end);
        EXPECT_LT(section.offset_bytes, end + 128) << name_of(codec.id);
        end = section.offset_bytes + section.size_bytes;
      }
      EXPECT_GE(layout->payload_bytes, end);
      EXPECT_LT(layout->payload_bytes, end + 128);
    }
  }
}

TEST(Layout, RefusesWhatIsTooLarge)
{
  EXPECT_TRUE(layout_of(named("q8"), kMostElements).ok());
  const absl::StatusOr<Layout> layout = layout_of(named("q8"), UINT64_MAX);
  EXPECT_EQ(layout.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(layout.status().message(), HasSubstr("18446744073709551615"));
}

TEST(FindCodec, EveryCodecHasItsNameAndNumber)
{
  for (const Codec codec : all_codecs())
  {
    EXPECT_EQ(*find_codec(name_of(codec.id)), codec);
    EXPECT_EQ(*find_codec(static_cast<std::uint16_t>(codec.id), codec.version), codec);
  }
}

TEST(FindCodec, AnUnknownOneIsRefusedByName)
{
  const absl::StatusOr<Codec> id = find_codec(99, 1);
  EXPECT_EQ(id.status().code(), absl::StatusCode::kUnimplemented);
  EXPECT_THAT(id.status().message(), HasSubstr("codec 99 version 1"));
  EXPECT_EQ(find_codec(16, 2).status().code(), absl::StatusCode::kUnimplemented);
  const absl::StatusOr<Codec> name = find_codec("q9");
  EXPECT_EQ(name.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(name.status().message(), HasSubstr("q8 (16 version 1)"));
}

}  // namespace
}  // namespace spillway::kernels
