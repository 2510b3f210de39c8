// SPDX-License-Identifier: Apache-2.0
#include "spillway/base/environment.h"

#include <unistd.h>

#include <cstdlib>

namespace spillway {

std::optional<std::string> environment(const std::string& name)
{
  const char* value = std::getenv(name.c_str());
  if (value == nullptr) return std::nullopt;
  return std::string(value);
}

std::vector<std::string> whole_environment()
{
  std::vector<std::string> entries;
  for (char** entry = environ; entry != nullptr && *entry != nullptr; ++entry)
    entries.emplace_back(*entry);
  return entries;
}

}  // namespace spillway
