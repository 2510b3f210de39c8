// SPDX-License-Identifier: Apache-2.0
// What a build without an optional part says instead. The stand-in is compiled here as such a build
// compiles it, with a reason of the test's own.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "spillway/comm/transport.h"

namespace spillway::comm {
namespace {

TEST(Unavailable, UcxSaysWhyAndWhatToDo)
{
  const auto transport = make_ucx_transport(TransportOptions());
  EXPECT_EQ(transport.status().code(), absl::StatusCode::kUnimplemented);
  EXPECT_EQ(transport.status().message(),
            "this build has no UCX transport: the test wants none; install the libucx wheel and "
            "configure again");
}

}  // namespace
}  // namespace spillway::comm
