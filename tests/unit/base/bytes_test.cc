// SPDX-License-Identifier: Apache-2.0
#include "spillway/base/bytes.h"

#include <gtest/gtest.h>

#include "spillway/base/hash.h"
#include "spillway/base/shared_text.h"

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

TEST(Hash, OfPiecesIsThatOfTheWhole)
{
  std::string text;
  for (int i = 0; i < 3000; ++i) text += static_cast<char>('a' + i * i % 26);
  for (std::size_t piece : {1u, 7u, 240u, 256u, 1000u, 3000u})
  {
    ContentHasher128 hasher;
    for (std::size_t at = 0; at < text.size(); at += piece)
      hasher.add(as_bytes(absl::string_view(text).substr(at, piece)));
    EXPECT_EQ(hasher.hash(), content_hash_128(as_bytes(text))) << piece;
  }
  EXPECT_EQ(ContentHasher128().hash(), content_hash_128({}));
}

TEST(SharedText, IsItsTextWhereverItIsCopied)
{
  const SharedText empty;
  EXPECT_EQ(empty, SharedText(""));
  EXPECT_TRUE(empty.empty());
  EXPECT_EQ(empty.hash(), content_hash({}));
  const SharedText text = "10.0.0.1:4711";
  const SharedText copy = text;
  EXPECT_EQ(&copy.str(), &text.str());
  EXPECT_EQ(copy, SharedText(std::string("10.0.0.1:4711")));
  EXPECT_NE(copy, SharedText("10.0.0.1:4712"));
  EXPECT_NE(copy, empty);
  EXPECT_EQ(copy.hash(), content_hash(as_bytes("10.0.0.1:4711")));
  EXPECT_EQ(copy.size(), 13u);
}

}  // namespace
}  // namespace spillway
