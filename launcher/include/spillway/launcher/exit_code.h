// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "absl/status/status.h"

namespace spillway {

// What the `spillway` program itself may end with. A job that ends by a worker has that worker's
// code instead: its exit status, or 128 + the signal that ended it. The first line that is printed
// about the end says which of the two it was.
enum class ExitCode : int
{
  kOk = 0,
  kUsage = 2,          // unknown or contradictory flags
  kUnreachable = 69,   // the coordinator, or an address to listen on, could not be had
  kInternal = 70,      // a fault of Spillway itself
  kSystem = 71,        // the machine refused: processes, descriptors, memory, disk
  kBelowMinimum = 75,  // fewer workers than the minimum for longer than --join-timeout
  kRefused = 76,       // the coordinator refused: other version, other job, lost state
  kNotExecutable = 126,
  kNotFound = 127,
};

inline int to_int(ExitCode code)
{
  return static_cast<int>(code);
}

// The code for a status that stopped `spillway` before or instead of a worker.
ExitCode exit_code_for(const absl::Status& status);

}  // namespace spillway
