// SPDX-License-Identifier: Apache-2.0
#include "script.h"

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <sstream>

#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "director.h"

namespace spillway::sim {
namespace {

const Phrasebook& phrasebook()
{
  static const Phrasebook book = [] {
    std::vector<std::string> words;
    for (const Phrase& phrase : phrases()) words.push_back(phrase.words);
    return Phrasebook(words);
  }();
  return book;
}

absl::Status at_line(const std::string& name, int number, absl::string_view what)
{
  return absl::InvalidArgumentError(absl::StrCat(name, ", line ", number, ": ", what));
}

}  // namespace

absl::StatusOr<Script> parse_script(const std::string& name, const std::string& text)
{
  Script script{.name = name, .lines = {}};
  std::set<std::string> names;
  int number = 0;
  bool begun = false;
  for (const absl::string_view raw : absl::StrSplit(text, '\n'))
  {
    ++number;
    const absl::string_view line =
        absl::StripAsciiWhitespace(std::pair<absl::string_view, absl::string_view>(
                                       absl::StrSplit(raw, absl::MaxSplits('#', 1)))
                                       .first);
    if (line.empty()) continue;
    auto understood = phrasebook().read(std::string(line), names);
    if (!understood.ok()) return at_line(name, number, understood.status().message());
    const Phrase& phrase = phrases()[understood->phrase];
    if (phrase.set && begun) return at_line(name, number, "a setting belongs before the steps");
    begun = !phrase.set;
    if (phrase.words.starts_with("start ")) names.insert(understood->words.text("who"));
    script.lines.push_back(
        {number, std::string(line), understood->phrase, std::move(understood->words)});
  }
  if (!begun) return absl::InvalidArgumentError(absl::StrCat(name, " has no steps"));
  return script;
}

absl::StatusOr<Script> read_script(const std::string& path)
{
  std::ifstream file(path);
  if (!file) return absl::NotFoundError(absl::StrCat("cannot read ", path));
  std::stringstream text;
  text << file.rdbuf();
  return parse_script(std::filesystem::path(path).stem().string(), text.str());
}

Outcome run_script(const Script& script, const ProtocolRules& rules, Branches& branches, bool trace)
{
  return Director(rules, branches, trace).run(script);
}

bool run_scripts(const std::string& path, const ProtocolRules& rules, bool trace)
{
  std::vector<std::string> files;
  if (std::filesystem::is_directory(path))
  {
    for (const auto& entry : std::filesystem::directory_iterator(path))
      if (entry.path().extension() == ".txt") files.push_back(entry.path().string());
    std::sort(files.begin(), files.end());
  }
  else
    files.push_back(path);
  bool good = !files.empty();
  if (!good) std::cerr << path << " has no scripts" << std::endl;
  for (const std::string& file : files)
  {
    const absl::StatusOr<Script> script = read_script(file);
    if (!script.ok())
    {
      std::cerr << script.status().message() << std::endl;
      good = false;
      continue;
    }
    Branches branches;
    const Outcome outcome = run_script(*script, rules, branches, trace);
    std::string what = absl::StrCat(outcome.applied_steps, " steps, ", outcome.end);
    const bool found = !outcome.findings.empty();
    if (found)
      what = absl::StrCat("FOUND ", invariants::to_string(outcome.findings.front().invariant), ": ",
                          outcome.findings.front().what);
    else if (!outcome.unreached.empty())
      what = outcome.unreached;
    if (!outcome.broken.empty()) absl::StrAppend(&what, "; a core says: ", outcome.broken);
    std::cout << script->name << ": " << what << std::endl;
    good = good && !found && outcome.unreached.empty() && outcome.broken.empty();
  }
  return good;
}

}  // namespace spillway::sim
