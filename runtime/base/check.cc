// SPDX-License-Identifier: Apache-2.0
#include "spillway/base/check.h"

#include <cstdio>
#include <cstdlib>

namespace spillway::internal {

void check_failed(const char* file, int line, const char* condition, absl::string_view message)
{
  std::fprintf(stderr, "spillway: %s:%d: check failed: %s %.*s\n", file, line, condition,
               static_cast<int>(message.size()), message.data());
  std::fflush(stderr);
  std::abort();
}

}  // namespace spillway::internal
