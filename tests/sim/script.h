// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "phrase.h"
#include "world.h"

namespace spillway::sim {

// A directed schedule, read from a file: settings, then steps, one a line. scripts/README.md
// has the words.
struct Script
{
  struct Line
  {
    int number = 0;
    std::string text;
    std::size_t phrase = 0;
    Words words;
  };
  std::string name;
  std::vector<Line> lines;
};

// kInvalidArgument names the line and the word.
absl::StatusOr<Script> parse_script(const std::string& name, const std::string& text);
// Also kNotFound.
absl::StatusOr<Script> read_script(const std::string& path);

// Runs it: the steps, then everything is repaired and judged as after random faults.
Outcome run_script(const Script& script, const ProtocolRules& rules, Branches& branches,
                   bool trace);

// A file, or all files of a folder; prints what each came to. True: all is as it should be.
bool run_scripts(const std::string& path, const ProtocolRules& rules, bool trace);

}  // namespace spillway::sim
