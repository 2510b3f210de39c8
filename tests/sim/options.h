// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "spillway/coordinator/rules.h"

namespace spillway::sim {

// The command line of spillway_sim.
struct Options
{
  std::uint64_t seeds = 1000;
  std::uint64_t first_seed = 0;
  bool one_seed = false;
  std::vector<std::string> without;  // as given
  ProtocolRules rules;
  bool json = false;
  bool trace = false;
  bool go_on = false;   // after a finding
  std::string table;    // of the negative controls, to be run
  bool search = false;  // from the first seed instead of the known ones
  std::string script;   // a file, or a folder of them, to be run
};

// nullopt after an explanation on stderr.
std::optional<Options> parse_options(int argc, char** argv);
// Switches off a rule by its name, or all of a paragraph ("P4"); false if there is none.
bool switch_off(const std::string& what, ProtocolRules& rules);

}  // namespace spillway::sim
