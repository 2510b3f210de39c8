// SPDX-License-Identifier: Apache-2.0
#include "controls.h"

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <optional>
#include <string>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_split.h"

#include "options.h"
#include "script.h"
#include "world.h"

namespace spillway::sim {
namespace {

constexpr std::uint64_t kMostSeeds = 5000;

// A line of the table: rules or paragraphs that are switched off together, and what shows it.
struct Control
{
  std::string what{};  // one, or several joined by '+'
  std::optional<std::uint64_t> seed{};
  std::string script{};  // its path
  std::string implied_by{};
};

absl::StatusOr<Control> read_line(const std::string& line, const std::filesystem::path& scripts)
{
  const std::vector<std::string> words = absl::StrSplit(line, ' ', absl::SkipEmpty());
  Control control{.what = words.front()};
  std::uint64_t seed = 0;
  if (words.size() == 3 && words[1] == "seed" && absl::SimpleAtoi(words[2], &seed))
    control.seed = seed;
  else if (words.size() == 3 && words[1] == "script")
    control.script = scripts / (words[2] + ".txt");
  else if (words.size() == 4 && words[1] == "implied" && words[2] == "by")
    control.implied_by = words[3];
  else
    return absl::InvalidArgumentError(
        absl::StrCat(words.front(),
                     ": shown by nothing: a line ends with 'seed N', 'script NAME' "
                     "or 'implied by RULE'"));
  return control;
}

absl::StatusOr<std::vector<Control>> read_table(const std::string& path)
{
  std::vector<Control> table;
  std::ifstream file(path);
  if (!file) return absl::NotFoundError(absl::StrCat("cannot read ", path));
  for (std::string line; std::getline(file, line);)
  {
    if (line.empty() || line.front() == '#') continue;
    auto control = read_line(line, std::filesystem::path(path).parent_path() / "scripts");
    if (!control.ok()) return control.status();
    table.push_back(*std::move(control));
  }
  return table;
}

// A rule that no line names would pass unnoticed.
bool names_every_rule(const std::vector<Control>& table)
{
  bool all = true;
  for (const RuleSwitch& rule : protocol_rule_switches())
  {
    const bool named = std::any_of(table.begin(), table.end(),
                                   [&](const Control& c) { return c.what == rule.name; });
    if (!named) std::cout << rule.name << ": NOT IN THE TABLE" << std::endl;
    all = all && named;
  }
  return all;
}

std::optional<std::string> in_words(const Outcome& outcome)
{
  if (outcome.findings.empty()) return std::nullopt;
  return absl::StrCat(invariants::to_string(outcome.findings.front().invariant), ": ",
                      outcome.findings.front().what);
}

// The invariant that the seed breaks without the rule, in words.
std::optional<std::string> finding_of(const ProtocolRules& rules, std::uint64_t seed)
{
  Branches branches;
  World world(draw_setup(seed, rules), branches, false);
  return in_words(world.run());
}

bool show_script(const Control& control, const ProtocolRules& rules)
{
  const absl::StatusOr<Script> script = read_script(control.script);
  if (!script.ok())
  {
    std::cout << control.what << ": " << script.status().message() << std::endl;
    return false;
  }
  Branches branches;
  const auto found = in_words(run_script(*script, rules, branches, false));
  std::cout << control.what << ": script " << script->name << ": " << found.value_or("NOT NOTICED")
            << std::endl;
  return found.has_value();
}

bool search_seed(const Control& control, const ProtocolRules& rules)
{
  for (std::uint64_t seed = 0; seed < kMostSeeds; ++seed)
  {
    const auto found = finding_of(rules, seed);
    if (!found) continue;
    std::cout << control.what << ": first seed " << seed << ": " << *found << std::endl;
    return true;
  }
  std::cout << control.what << ": NOT NOTICED in " << kMostSeeds << " seeds" << std::endl;
  return false;
}

bool show(const Control& control, bool search)
{
  ProtocolRules rules;
  for (const std::string& what : std::vector<std::string>(absl::StrSplit(control.what, '+')))
    if (!switch_off(what, rules))
    {
      std::cout << control.what << ": no such rule: " << what << std::endl;
      return false;
    }
  if (!control.implied_by.empty())
  {
    std::cout << control.what << ": implied by " << control.implied_by << std::endl;
    return switch_off(control.implied_by, rules);
  }
  if (!control.script.empty()) return show_script(control, rules);
  if (!search)
  {
    if (const auto found = finding_of(rules, *control.seed))
    {
      std::cout << control.what << ": seed " << *control.seed << ": " << *found << std::endl;
      return true;
    }
    // Another simulator than the one that found the seed: any seed will do.
    std::cout << control.what << ": seed " << *control.seed << " does not show it any more"
              << std::endl;
  }
  return search_seed(control, rules);
}

}  // namespace

bool run_controls(const std::string& table, bool search)
{
  const absl::StatusOr<std::vector<Control>> controls = read_table(table);
  if (!controls.ok())
  {
    std::cout << controls.status().message() << std::endl;
    return false;
  }
  bool all = names_every_rule(*controls);
  for (const Control& control : *controls) all = show(control, search) && all;
  return all;
}

}  // namespace spillway::sim
