// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <map>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"

namespace spillway::testing {

// A readable test of a pure core: a text file of prose (lines starting with #), event lines, and
// below each event the actions it must lead to, each after "  > ". `--update` rewrites the
// expected lines; the change is then reviewed like code.

// One event line: a command, plain words, and key=value settings.
struct ScriptLine
{
  std::string command;
  std::vector<std::string> words;
  std::map<std::string, std::string> settings;
  std::uint64_t number(std::size_t word) const;
};

// What an event leads to, one line per action.
using ScriptInterpreter = std::function<std::vector<std::string>(const ScriptLine&)>;

// Runs the file at `path` and reports every difference as a test failure, or rewrites the file.
void run_script(const std::string& path, const ScriptInterpreter& interpreter, bool update);

// For the main function of a test program: the scripts in `folder`, one test each.
int run_script_tests(int argc, char** argv, const std::string& folder,
                     const std::function<ScriptInterpreter()>& make_interpreter);

}  // namespace spillway::testing
