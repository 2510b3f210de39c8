// SPDX-License-Identifier: Apache-2.0
#include "spillway/train/error.h"

#include <string>

namespace spillway {

Error::Error(const absl::Status& status)
    : std::runtime_error(std::string(status.message())), code_(status.code())
{
}

void throw_if_error(const absl::Status& status)
{
  if (!status.ok()) throw Error(status);
}

}  // namespace spillway
