// SPDX-License-Identifier: Apache-2.0
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>

#include "inputs.h"
#include "spillway/base/rng.h"

// Arguments and bytes that are wrong: a typed error that names what and where, nothing written.
namespace spillway::kernels {
namespace {

using testing::AllOf;
using testing::HasSubstr;

struct Call
{
  std::vector<float> values = std::vector<float>(5000, 0.5f);
  std::vector<float> residual = std::vector<float>(5000, 0.25f);
  std::vector<float> fresh = std::vector<float>(5000, 7.0f);
  std::string payload = std::string(8320, '\x5A');
  EncodeInput input;

  Call()
  {
    input.codec = named("q8");
    input.values = values.data();
    input.elements = values.size();
    input.residual = residual;
    input.new_residual = absl::MakeSpan(fresh);
  }
  void expect_refused(const char* what)
  {
    const std::vector<float> before = fresh;
    const std::string bytes = payload;
    const absl::StatusOr<Encoded> encoded =
        encode(input, {reinterpret_cast<std::byte*>(payload.data()), payload.size()});
    EXPECT_EQ(encoded.status().code(), absl::StatusCode::kInvalidArgument);
    EXPECT_THAT(encoded.status().message(), HasSubstr(what));
    EXPECT_EQ(fresh, before);
    EXPECT_EQ(payload, bytes);
  }
};

TEST(BadEncode, IsRefusedBeforeAnythingIsWritten)
{
  Call payload;
  payload.payload.resize(8319);
  payload.expect_refused("`payload` has 8319 bytes; 5000 elements of q8 take exactly 8320");
  Call residual;
  residual.input.residual = residual.input.residual.first(4999);
  residual.expect_refused("`residual` has 4999 and `new_residual` 5000");
  Call one;
  one.input.new_residual = {};
  one.expect_refused("both must have none or 5000");
  Call null;
  null.input.values = nullptr;
  null.expect_refused("`values` is null");
  Call misaligned;
  misaligned.input.values = reinterpret_cast<const char*>(misaligned.values.data()) + 2;
  misaligned.expect_refused("`values` is not aligned to 4");
  Call in_place;
  in_place.input.residual = in_place.input.new_residual;
  in_place.expect_refused("`residual` and `new_residual` overlap");
  Call aliased;
  aliased.input.values = aliased.fresh.data();
  aliased.expect_refused("`values` and `new_residual` overlap");
  Call huge;
  huge.input.elements = UINT64_MAX;
  huge.expect_refused("more than a payload can have");
  Call type;
  type.input.type = static_cast<SourceType>(9);
  type.expect_refused("source type 9");
}

TEST(BadEncode, ThreadsAreBounded)
{
  Call call;
  const MutableByteSpan out{reinterpret_cast<std::byte*>(call.payload.data()), call.payload.size()};
  for (const int threads : {0, -1, 100000})
    EXPECT_EQ(encode(call.input, out, {Backend::kSimd, threads}).status().code(),
              absl::StatusCode::kInvalidArgument);
}

TEST(BadEncode, AnUnknownVersionIsUnimplemented)
{
  Call call;
  call.input.codec.version = 2;
  const MutableByteSpan out{reinterpret_cast<std::byte*>(call.payload.data()), call.payload.size()};
  EXPECT_EQ(encode(call.input, out).status().code(), absl::StatusCode::kUnimplemented);
}

class BadPayload : public testing::Test
{
 protected:
  void expect_damaged(const char* codec, const std::string& payload, const char* what)
  {
    std::vector<float> out(count_, 3.0f);
    const std::string good = must_encode(named("q8"), values_).payload;
    const Contribution from[] = {{named("q8"), as_bytes(good), 1.0f},
                                 {named(codec), as_bytes(payload), 1.0f}};
    const absl::Status status = decode(from, absl::MakeSpan(out));
    EXPECT_EQ(status.code(), absl::StatusCode::kDataLoss) << status;
    EXPECT_THAT(std::string(status.message()), AllOf(HasSubstr("contribution 1"), HasSubstr(what)));
    EXPECT_THAT(out, testing::Each(3.0f));
  }
  std::string payload(const char* codec) { return must_encode(named(codec), values_).payload; }

  std::size_t count_ = 2 * kTileElements;
  std::vector<float> values_ = make_values(Kind::kNormal, count_, 1);
};

TEST_F(BadPayload, AScaleThatNoEncoderWrites)
{
  constexpr std::uint16_t kWrong[] = {0x8000, 0x0001, 0x7F80, 0x7FC1, 0xBF80, 0x7C02};
  for (const std::uint16_t scale : kWrong)
  {
    std::string bytes = payload("q8");
    std::memcpy(bytes.data() + 2 * 17, &scale, 2);
    expect_damaged("q8", bytes, "section `scales`, tile 1: block 17");
  }
}

TEST_F(BadPayload, ARecordThatIsNone)
{
  for (const char* codec : {"tk32", "tk64", "tk128"})
  {
    const Layout layout = *layout_of(named(codec), count_);
    const Section& high = layout.sections[1];
    for (const char fill : {'\0', '\xFF'})
    {
      std::string bytes = payload(codec);
      std::memset(bytes.data() + high.offset_bytes + high.tile_bytes, fill, high.tile_bytes);
      expect_damaged(codec, bytes, "section `high`, tile 1");
    }
    std::string low = payload(codec);
    // Two indices of one upper part in the wrong order.
    std::memset(low.data(), 0, layout.sections[0].tile_bytes);
    expect_damaged(codec, low, "section `high`, tile 0");
    std::string levels = payload(codec);
    levels[layout.sections[3].offset_bytes + 1] = '\xFF';
    expect_damaged(codec, levels, "section `levels`, tile 0");
  }
}

TEST_F(BadPayload, OfAWrongSizeIsRefused)
{
  std::vector<float> out(count_);
  for (const Codec codec : all_codecs())
  {
    const std::string bytes = must_encode(codec, values_).payload;
    for (const std::size_t size : {std::size_t{0}, bytes.size() - 1})
    {
      const Contribution from{codec, as_bytes(bytes).first(size), 1.0f};
      EXPECT_EQ(decode({&from, 1}, absl::MakeSpan(out)).code(), absl::StatusCode::kInvalidArgument);
    }
  }
}

TEST_F(BadPayload, VerifyFindsWhatDecodeDoesNotAskFor)
{
  const auto verdict = [&](const char* codec, std::size_t at, char byte) {
    std::string bytes = payload(codec);
    bytes[at] = byte;
    return std::string(verify(named(codec), as_bytes(bytes), count_ - 1).message());
  };
  EXPECT_THAT(verdict("q8", 128 + 5, '\x80'), HasSubstr("section `codes`, byte 5: the code -128"));
  EXPECT_THAT(verdict("q4", 256 + 5, '\x80'), HasSubstr("byte 5: the code 8"));
  EXPECT_THAT(verdict("q8", 128 + count_ - 1, '\x01'), HasSubstr("behind the last element"));
  EXPECT_THAT(verdict("q8", 100, '\x01'), HasSubstr("padding that is not 0"));
}

// Random bytes and random changes: every answer is a status or numbers, and nothing is touched
// outside the spans (the address sanitizer's part of this test).
TEST_F(BadPayload, NoBytesMakeADecoderLeaveItsSpans)
{
  Rng rng(5);
  std::size_t refused = 0, decoded = 0;
  for (int round = 0; round < 400; ++round)
  {
    for (const Codec codec : all_codecs())
    {
      const std::vector<float> values = make_values(Kind::kNormal, 1 + rng.below(5000), 4);
      std::string bytes = must_encode(codec, values).payload;
      for (std::uint64_t change = rng.below(6) + (round % 8 == 0 ? bytes.size() : 1); change > 0;
           --change)
        bytes[rng.below(bytes.size())] = static_cast<char>(rng.below(256));
      std::vector<float> out(values.size());
      const Contribution from{codec, as_bytes(bytes), 1.0f};
      const absl::Status status = decode({&from, 1}, absl::MakeSpan(out));
      (status.ok() ? decoded : refused) += 1;
      (void)verify(codec, as_bytes(bytes), values.size());
    }
  }
  EXPECT_GT(refused, 100);
  EXPECT_GT(decoded, 100);
}

}  // namespace
}  // namespace spillway::kernels
