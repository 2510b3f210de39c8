// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

namespace spillway {

// How a process ended, as its parent saw it.
struct ExitReason
{
  enum class How
  {
    kExited,    // `number` is its exit status
    kSignaled,  // `number` is the signal
  };
  How how = How::kExited;
  int number = 0;
  bool dumped_core = false;

  bool success() const { return how == How::kExited && number == 0; }
  // The exit status, or 128 + signal, as a shell reports it.
  int code() const { return how == How::kExited ? number : 128 + number; }
  // "exited with code 3", "was killed by SIGSEGV (core dumped)".
  std::string describe() const;
};

}  // namespace spillway
