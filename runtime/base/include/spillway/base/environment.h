// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"

namespace spillway {

// The value of an environment variable, if it is set. The only place that reads the environment;
// call it while the process starts, before threads that could change it.
std::optional<std::string> environment(const std::string& name);

// All of it, "NAME=value" each, for a process that passes it on. Same rule.
std::vector<std::string> whole_environment();

}  // namespace spillway
