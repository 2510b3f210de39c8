// SPDX-License-Identifier: Apache-2.0
#include "spillway/kernels/codec_c.h"
#include "absl/status/status.h"
#include "gtest/gtest.h"

extern "C" int use_from_c(void);

namespace {

TEST(CodecC, IsUsableFromC)
{
  EXPECT_EQ(use_from_c(), 0) << "the line of codec_c_use.c that did not hold";
}

TEST(CodecC, CodesAreThoseOfTheCppSide)
{
  EXPECT_EQ(SPILLWAY_INVALID_ARGUMENT, static_cast<int>(absl::StatusCode::kInvalidArgument));
  EXPECT_EQ(SPILLWAY_UNIMPLEMENTED, static_cast<int>(absl::StatusCode::kUnimplemented));
  EXPECT_EQ(SPILLWAY_INTERNAL, static_cast<int>(absl::StatusCode::kInternal));
  EXPECT_EQ(SPILLWAY_DATA_LOSS, static_cast<int>(absl::StatusCode::kDataLoss));
}

}  // namespace
