// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"

namespace spillway::internal {
// Prints the message with file and line to standard error and aborts.
[[noreturn]] void check_failed(const char* file, int line, const char* condition,
                               absl::string_view message);
}  // namespace spillway::internal

// Our own bugs end the process, in every build. The message takes absl::StrCat arguments:
//   SPILLWAY_CHECK(rank < size, "rank ", rank, " of ", size, " in epoch ", epoch.value());
// Faults that a peer, a user or a disk can cause are absl::Status instead.
#define SPILLWAY_CHECK(condition, ...)                                                   \
  do {                                                                                   \
    if (!(condition)) [[unlikely]]                                                       \
      ::spillway::internal::check_failed(__FILE__, __LINE__, #condition,                 \
                                         ::absl::StrCat("" __VA_OPT__(, ) __VA_ARGS__)); \
  } while (false)
