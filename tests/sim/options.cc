// SPDX-License-Identifier: Apache-2.0
#include "options.h"

#include <iostream>

#include "absl/strings/numbers.h"
#include "spillway/base/rng.h"

namespace spillway::sim {
namespace {

constexpr char kUsage[] =
    "usage: spillway_sim [--seeds N] [--seed S] [--fresh] [--without RULE|P1..P15]... [--json] "
    "[--trace]\n"
    "                    [--go-on]\n"
    "       spillway_sim --script FILE|FOLDER [--without RULE|P1..P15]... [--trace]\n"
    "       spillway_sim --controls TABLE [--search]\n"
    "  --seeds N     run N seeds (1000), from 0 or from --seed\n"
    "  --seed S      run seed S alone, or N seeds from S\n"
    "  --fresh       from a seed that nobody has tried; the report names it\n"
    "  --without X   switch off one rule, or all of a paragraph\n"
    "  --script      run a directed schedule, or all of a folder\n"
    "  --controls    switch off every rule in turn: each must be noticed\n"
    "  --search      of --controls: look for the first seed of each\n"
    "  --go-on       do not stop at the first finding\n"
    "  --trace       print what happens\n";

}  // namespace

bool switch_off(const std::string& what, ProtocolRules& rules)
{
  bool found = false;
  for (const RuleSwitch& rule : protocol_rule_switches())
    if (what == rule.name || what == rule.paragraph)
    {
      rules.*rule.field = false;
      found = true;
    }
  return found;
}

std::optional<Options> parse_options(int argc, char** argv)
{
  Options options;
  bool many = false;
  const std::vector<std::string> args(argv + 1, argv + argc);
  for (std::size_t i = 0; i < args.size(); ++i)
  {
    const std::string& flag = args[i];
    const std::string value = i + 1 < args.size() ? args[i + 1] : "";
    bool ok = true;
    if (flag == "--seeds")
      ok = absl::SimpleAtoi(value, &options.seeds), many = true, ++i;
    else if (flag == "--seed")
      ok = absl::SimpleAtoi(value, &options.first_seed), options.one_seed = true, ++i;
    else if (flag == "--without")
      ok = switch_off(value, options.rules), options.without.push_back(value), ++i;
    else if (flag == "--json")
      options.json = true;
    else if (flag == "--trace")
      options.trace = true;
    else if (flag == "--fresh")
      options.first_seed = secure_random_u64() >> 24;
    else if (flag == "--controls")
      options.table = value, ++i;
    else if (flag == "--script")
      options.script = value, ++i;
    else if (flag == "--search")
      options.search = true;
    else if (flag == "--go-on")
      options.go_on = true;
    else
      ok = false;
    if (ok) continue;
    std::cerr << "spillway_sim: cannot use '" << flag << " " << value << "'\n" << kUsage;
    return std::nullopt;
  }
  if (many)
    options.one_seed = false;
  else if (options.one_seed)
    options.seeds = 1;
  return options;
}

}  // namespace spillway::sim
