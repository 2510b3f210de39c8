// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"

namespace spillway {

// How callers react decides the code:
//   kUnavailable        a peer, agent or coordinator is gone or cannot be reached: reconfigure or
//   retry kAborted            the epoch ended under the call: begin the step again in the next one
//   kDeadlineExceeded   nothing answered in time: report the link, then as kAborted
//   kFailedPrecondition the caller's state does not allow it: an operator or the user must act
//   kInvalidArgument    the user gave something wrong: say what, and what is right
//   kDataLoss           bytes are not what they should be: refuse them, name the peer
//   kUnimplemented      this build or machine lacks the part: says which and why
//   kResourceExhausted  disk, memory or descriptors are short: says which and how much is needed

#define SPILLWAY_RETURN_IF_ERROR(expression)           \
  do {                                                 \
    ::absl::Status spillway_status = (expression);     \
    if (!spillway_status.ok()) return spillway_status; \
  } while (false)

#define SPILLWAY_CONCAT_INNER(a, b) a##b
#define SPILLWAY_CONCAT(a, b) SPILLWAY_CONCAT_INNER(a, b)
#define SPILLWAY_ASSIGN_OR_RETURN(target, expression) \
  SPILLWAY_ASSIGN_OR_RETURN_INNER(SPILLWAY_CONCAT(spillway_or_, __LINE__), target, expression)
#define SPILLWAY_ASSIGN_OR_RETURN_INNER(result, target, expression) \
  auto result = (expression);                                       \
  if (!result.ok()) return result.status();                         \
  target = std::move(result).value()

// Puts `context` before the message and keeps the code.
inline absl::Status annotate(const absl::Status& status, absl::string_view context)
{
  if (status.ok()) return status;
  return absl::Status(status.code(), absl::StrCat(context, ": ", status.message()));
}

}  // namespace spillway
