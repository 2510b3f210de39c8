// SPDX-License-Identifier: Apache-2.0
#include <cstdio>
#include <string>

#include "log_check.h"

// spillway_check_log DIR [--json]: 0 when every invariant holds, 1 when one is broken, 2 when the
// logs cannot be read.
int main(int argc, char** argv)
{
  std::string directory;
  bool json = false, usage = false;
  for (int i = 1; i < argc; ++i)
  {
    const std::string argument = argv[i];
    if (argument == "--json")
    {
      json = true;
    }
    else if (directory.empty() && argument.rfind("--", 0) != 0)
    {
      directory = argument;
    }
    else
    {
      usage = true;
    }
  }
  if (usage || directory.empty())
  {
    std::fprintf(stderr, "usage: spillway_check_log DIR [--json]\n");
    return 2;
  }
  const auto report = spillway::invariants::check_log_directory(directory);
  if (!report.ok())
  {
    std::fprintf(stderr, "spillway_check_log: %s\n",
                 std::string(report.status().message()).c_str());
    return 2;
  }
  std::printf("%s%s", (json ? report->json() : report->text()).c_str(), json ? "\n" : "");
  return report->findings.empty() ? 0 : 1;
}
