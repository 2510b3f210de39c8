// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <stdexcept>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace spillway {

// The only exception that the train API throws: something that the loop cannot handle by going on.
// A lost peer is none of these; the step is yielded again. What user code and libtorch throw passes
// through unchanged. The message says what happened and what to do.
class Error : public std::runtime_error
{
 public:
  explicit Error(const absl::Status& status);
  // kInvalidArgument: the program gave something wrong; kFailedPrecondition: the job or the order
  // of calls does not allow it; kUnavailable: the agent cannot be reached.
  absl::StatusCode code() const { return code_; }

 private:
  absl::StatusCode code_;
};

void throw_if_error(const absl::Status& status);

template <typename T>
T value_or_throw(absl::StatusOr<T> result)
{
  throw_if_error(result.status());
  return std::move(result).value();
}

}  // namespace spillway
