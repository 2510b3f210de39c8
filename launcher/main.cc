// SPDX-License-Identifier: Apache-2.0
#include <cstdio>
#include <map>

#include "absl/strings/str_cat.h"
#include "commands.h"
#include "spillway/launcher/exit_code.h"
#include "spillway/launcher/flag_table.h"

namespace spillway {
namespace {

constexpr char kUsageText[] =
    "spillway: elastic data-parallel training\n"
    "\n"
    "  spillway run [flags] program [arguments…]   start, watch and replace the workers of this "
    "node\n"
    "  spillway coordinator [flags]                serve the membership of jobs\n"
    "  spillway status [JOB]                       who is in, and how far\n"
    "  spillway explain [JOB]                      who is missing, what happens next, and why\n"
    "  spillway adopt [JOB] LINEAGE                go on with a job whose record was lost\n"
    "  spillway abandon [JOB] WORKER|node:NODE     declare a worker or node dead for good\n"
    "  spillway codec info FILE                    what the gradient codecs make of a tensor\n"
    "  spillway --version\n"
    "\n"
    "spillway COMMAND --help says more.\n";

int dispatch(const std::vector<std::string>& arguments)
{
  using Command = int (*)(const std::vector<std::string>&);
  const std::map<std::string, Command> commands = {
      {"run", run_command},       {"coordinator", coordinator_command},
      {"status", status_command}, {"explain", explain_command},
      {"adopt", adopt_command},   {"abandon", abandon_command},
      {"codec", codec_command}};
  const std::string name = arguments.empty() ? "" : arguments.front();
  if (name == "--version" || name == "-V")
  {
    std::printf("spillway %s\n", SPILLWAY_VERSION);
    return 0;
  }
  if (name == "--help" || name == "-h" || name == "help")
  {
    std::fputs(kUsageText, stdout);
    return 0;
  }
  const auto found = commands.find(name);
  if (found != commands.end()) return found->second({arguments.begin() + 1, arguments.end()});
  std::vector<std::string> names{"--version", "--help"};
  for (const auto& [known, command] : commands) names.push_back(known);
  if (name.empty())
    std::fputs(kUsageText, stderr);
  else
    std::fprintf(stderr, "spillway: there is no command '%s'; did you mean '%s'?\n", name.c_str(),
                 nearest_name(name, names).c_str());
  return to_int(ExitCode::kUsage);
}

}  // namespace
}  // namespace spillway

int main(int argc, char** argv)
{
  return spillway::dispatch({argv + 1, argv + argc});
}
