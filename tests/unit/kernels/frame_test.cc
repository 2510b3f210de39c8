// SPDX-License-Identifier: Apache-2.0
#include "spillway/kernels/frame.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "inputs.h"
#include "spillway/base/rng.h"

namespace spillway::kernels {
namespace {

using testing::HasSubstr;

FrameHeader some_header(Codec codec, std::uint64_t elements)
{
  FrameHeader header;
  header.codec = codec;
  header.source = SourceType::kBf16;
  header.elements = elements;
  header.first_element = 3 * kTileElements;
  header.round = 41;
  header.fragment = 7;
  header.sender = 2;
  header.residual_generation = 12;
  header.poisoned = 1;
  return header;
}

std::string sealed(Codec codec, std::size_t elements)
{
  const std::string payload = must_encode(codec, make_values(Kind::kNormal, elements, 1)).payload;
  std::string frame(*frame_bytes(codec, elements), '\0');
  frame.replace(kFrameHeaderBytes, payload.size(), payload);
  const absl::Status status = seal_frame(
      some_header(codec, elements), {reinterpret_cast<std::byte*>(frame.data()), frame.size()});
  EXPECT_TRUE(status.ok()) << status;
  return frame;
}

TEST(Crc32c, GivesThePublishedValues)
{
  EXPECT_EQ(crc32c(as_bytes("123456789")), 0xE3069283u);
  EXPECT_EQ(crc32c(as_bytes(std::string(32, '\0'))), 0x8A9136AAu);
  EXPECT_EQ(crc32c(as_bytes(std::string(32, '\xFF'))), 0x62A8AB43u);
  EXPECT_EQ(crc32c({}), 0u);
}

TEST(Frame, ComesBackAsItWasSealed)
{
  for (const Codec codec : all_codecs())
  {
    for (const std::size_t elements : {0, 1, 4096, 5000})
    {
      const std::string frame = sealed(codec, elements);
      const absl::StatusOr<OpenedFrame> opened = open_frame(as_bytes(frame));
      ASSERT_TRUE(opened.ok()) << opened.status();
      EXPECT_EQ(opened->header, some_header(codec, elements));
      EXPECT_EQ(opened->payload.size(), frame.size() - kFrameHeaderBytes);
    }
  }
}

TEST(Frame, EverySingleBitThatChangesIsFound)
{
  std::string frame = sealed(named("tk64"), 5000);
  for (std::size_t bit = 0; bit < 8 * frame.size(); ++bit)
  {
    frame[bit / 8] = static_cast<char>(frame[bit / 8] ^ 1 << bit % 8);
    const absl::StatusOr<OpenedFrame> opened = open_frame(as_bytes(frame));
    ASSERT_EQ(opened.status().code(), absl::StatusCode::kDataLoss) << "bit " << bit;
    frame[bit / 8] = static_cast<char>(frame[bit / 8] ^ 1 << bit % 8);
  }
  EXPECT_TRUE(open_frame(as_bytes(frame)).ok());
}

TEST(Frame, TheDamagedSectionIsNamed)
{
  std::string frame = sealed(named("tk64"), 5000);
  const Layout layout = *layout_of(named("tk64"), 5000);
  for (const Section& section : layout.all())
  {
    std::string damaged = frame;
    damaged[kFrameHeaderBytes + section.offset_bytes] ^= 4;
    EXPECT_THAT(std::string(open_frame(as_bytes(damaged)).status().message()),
                HasSubstr(absl::StrCat("(`", section.name, "`)")));
  }
}

TEST(Frame, EveryTruncationIsRefused)
{
  const std::string frame = sealed(named("q8"), 10);
  for (std::size_t size = 0; size < frame.size(); size += 37)
    EXPECT_EQ(open_frame(as_bytes(frame).first(size)).status().code(), absl::StatusCode::kDataLoss);
  EXPECT_EQ(open_frame(as_bytes(frame + "x")).status().code(), absl::StatusCode::kDataLoss);
}

// A header with a right checksum may still lie.
std::string resealed(std::string frame)
{
  std::fill_n(frame.begin() + 12, 4, '\0');
  const std::uint32_t crc = crc32c(as_bytes(frame).first(kFrameHeaderBytes));
  frame.replace(12, 4, reinterpret_cast<const char*>(&crc), 4);
  return frame;
}

TEST(Frame, AHeaderThatLiesIsRefused)
{
  const std::string frame = sealed(named("q8"), 10);
  const auto code_with = [&](std::size_t at, char byte) {
    std::string changed = frame;
    changed[at] = byte;
    return open_frame(as_bytes(resealed(changed))).status().code();
  };
  EXPECT_EQ(code_with(4, 2), absl::StatusCode::kUnimplemented) << "frame version";
  EXPECT_EQ(code_with(6, 99), absl::StatusCode::kUnimplemented) << "codec";
  EXPECT_EQ(code_with(8, 2), absl::StatusCode::kUnimplemented) << "codec version";
  EXPECT_EQ(code_with(10, 3), absl::StatusCode::kDataLoss) << "source type";
  EXPECT_EQ(code_with(11, 1), absl::StatusCode::kDataLoss) << "reserved";
  EXPECT_EQ(code_with(127, 1), absl::StatusCode::kDataLoss) << "reserved";
  EXPECT_EQ(code_with(23, '\x7F'), absl::StatusCode::kDataLoss) << "an absurd count";
  EXPECT_EQ(code_with(17, '\x7F'), absl::StatusCode::kDataLoss) << "another count";
  EXPECT_EQ(code_with(24, 1), absl::StatusCode::kDataLoss) << "not at a tile";
}

TEST(Frame, SealingChecksItsArguments)
{
  std::string frame(*frame_bytes(named("q8"), 10) - 1, '\0');
  const MutableByteSpan out{reinterpret_cast<std::byte*>(frame.data()), frame.size()};
  EXPECT_EQ(seal_frame(some_header(named("q8"), 10), out).code(),
            absl::StatusCode::kInvalidArgument);
}

TEST(Frame, RandomBytesAreRefused)
{
  Rng rng(3);
  for (int round = 0; round < 2000; ++round)
  {
    std::string bytes(rng.below(400), '\0');
    for (char& byte : bytes) byte = static_cast<char>(rng.below(256));
    EXPECT_FALSE(open_frame(as_bytes(bytes)).ok());
  }
}

}  // namespace
}  // namespace spillway::kernels
