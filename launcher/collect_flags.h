// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <map>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "spillway/launcher/run_options.h"

namespace spillway {

struct CollectedFlags
{
  std::map<std::string, std::string> values;  // by canonical name; a switch has "1" or "0"
  std::vector<std::string> program;
};

// Walks the arguments as python's argparse does for torchrun: '-' and '_' are equal, a name may be
// shortened while it is unambiguous, values follow '=' or a space, flags end at the first
// positional or at "--". What is not given comes from the flag's variable.
absl::StatusOr<CollectedFlags> collect_flags(absl::Span<const std::string> arguments,
                                             const EnvironmentLookup& lookup);

}  // namespace spillway
