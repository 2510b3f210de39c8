// SPDX-License-Identifier: Apache-2.0
#include "spillway/train/train.h"

#include <cstdio>

// Links the whole stack, libtorch included; started by hand, it is told how to start it.
int main()
{
  if (spillway::LrSchedule::cosine(1.0, 10).at(10) != 0) return 1;
  try
  {
    spillway::Runtime::init();
  }
  catch (const spillway::Error& error)
  {
    std::printf("%s\n", error.what());
    return error.code() == absl::StatusCode::kFailedPrecondition ? 0 : 1;
  }
  return 1;
}
