// SPDX-License-Identifier: Apache-2.0
#include "spillway/base/bytes.h"

#include <gtest/gtest.h>

#include "spillway/base/hash.h"

namespace spillway {
namespace {

TEST(Bytes, ReadsBackWhatWasWritten)
{
  ByteWriter writer;
  writer.number(std::uint64_t{42});
  writer.text("spillway");
  writer.number(-1.5);
  ByteReader reader(as_bytes(writer.str()));
  EXPECT_EQ(*reader.number<std::uint64_t>(), 42u);
  EXPECT_EQ(*reader.text(), "spillway");
  EXPECT_EQ(*reader.number<double>(), -1.5);
  EXPECT_EQ(reader.remaining_bytes(), 0u);
}

TEST(Bytes, EveryPrefixOfAMessageIsRefusedWithoutReadingPastIt)
{
  ByteWriter writer;
  writer.text("a longer text");
  for (std::size_t size = 0; size < writer.str().size(); ++size)
  {
    const std::string prefix = writer.str().substr(0, size);
    ByteReader reader(as_bytes(prefix));
    EXPECT_EQ(reader.text().status().code(), absl::StatusCode::kDataLoss) << size;
  }
}

TEST(Hash, DependsOnContentSeedAndOrder)
{
  EXPECT_EQ(content_hash(as_bytes("abc")), content_hash(as_bytes("abc")));
  EXPECT_NE(content_hash(as_bytes("abc")), content_hash(as_bytes("abd")));
  EXPECT_NE(content_hash(as_bytes("abc")), content_hash(as_bytes("abc"), 1));
  EXPECT_NE(hash_combine(1, 2), hash_combine(2, 1));
}

}  // namespace
}  // namespace spillway
