// SPDX-License-Identifier: Apache-2.0
#include "spillway/coordinator/messages.h"

namespace spillway {

const char* end_reason_name(EndReason reason)
{
  switch (reason)
  {
    case EndReason::kRunning:
      return "running";
    case EndReason::kFinished:
      return "finished";
    case EndReason::kReleased:
      return "released";
    case EndReason::kTooFewMembers:
      return "too few members";
    case EndReason::kStateLost:
      return "state lost";
    case EndReason::kStopped:
      return "stopped";
  }
  return "unknown";
}

}  // namespace spillway
