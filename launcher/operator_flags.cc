// SPDX-License-Identifier: Apache-2.0
#include "operator_flags.h"

#include <algorithm>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "spillway/base/status.h"
#include "spillway/launcher/flag_table.h"

namespace spillway {
namespace {

absl::Status unknown_flag(const std::string& command, const std::string& argument,
                          absl::Span<const OperatorFlag> flags)
{
  const std::string name(
      argument.substr(std::min(argument.find_first_not_of('-'), argument.size())));
  std::vector<std::string> names{"help"};
  for (const OperatorFlag& flag : flags) names.emplace_back(flag.name);
  // Of a short one only the first letter is known.
  std::string near = nearest_name(name, names);
  for (const std::string& known : names)
    if (name.size() == 1 && known[0] == name[0]) near = known;
  return absl::InvalidArgumentError(absl::StrCat("unknown flag ", argument, "; did you mean --",
                                                 near, "? (spillway ", command,
                                                 " --help lists all)"));
}

}  // namespace

std::string OperatorArguments::value(const std::string& name, const std::string& otherwise) const
{
  const auto found = values.find(name);
  return found == values.end() ? otherwise : found->second.back();
}

absl::StatusOr<OperatorArguments> read_operator_flags(const std::string& command,
                                                      absl::Span<const OperatorFlag> flags,
                                                      absl::Span<const std::string> arguments)
{
  OperatorArguments out;
  for (std::size_t at = 0; at < arguments.size(); ++at)
  {
    const std::string& argument = arguments[at];
    if (argument == "-h" || argument == "--help")
    {
      out.values["help"] = {""};
      continue;
    }
    if (argument.size() < 2 || argument[0] != '-')
    {
      out.words.push_back(argument);
      continue;
    }
    const std::size_t equals = argument.find('=');
    const std::string name =
        absl::StrReplaceAll(argument.substr(std::min<std::size_t>(2, argument.size()),
                                            equals == std::string::npos ? equals : equals - 2),
                            {{"_", "-"}});
    const auto flag = std::find_if(flags.begin(), flags.end(),
                                   [&](const OperatorFlag& one) { return one.name == name; });
    if (!absl::StartsWith(argument, "--") || flag == flags.end())
      return unknown_flag(command, argument.substr(0, equals), flags);
    if (flag->value == nullptr && equals != std::string::npos)
      return absl::InvalidArgumentError(absl::StrCat("--", name, " takes no value"));
    std::string value = equals == std::string::npos ? "" : argument.substr(equals + 1);
    if (flag->value != nullptr && equals == std::string::npos && at + 1 < arguments.size())
      value = arguments[++at];
    if (flag->value != nullptr && value.empty())
      return absl::InvalidArgumentError(absl::StrCat("--", name, " needs a value: ", flag->help));
    std::vector<std::string>& values = out.values[name];
    if (!values.empty() && !flag->repeated)
      return absl::InvalidArgumentError(absl::StrCat("--", name, " is given twice"));
    values.push_back(value);
  }
  return out;
}

std::string operator_help(const std::string& usage, const std::string& about,
                          absl::Span<const OperatorFlag> flags)
{
  std::string text = absl::StrCat(usage, "\n", about, "\n");
  for (const OperatorFlag& flag : flags)
  {
    std::string name = absl::StrCat("  --", flag.name, flag.value == nullptr ? "" : " ",
                                    flag.value ? flag.value : "");
    if (name.size() < 28) name.resize(28, ' ');
    absl::StrAppend(&text, name, " ", flag.help, "\n");
  }
  return text;
}

absl::StatusOr<double> seconds_of(const std::string& flag, const std::string& text, double most)
{
  double seconds = 0;
  if (!absl::SimpleAtod(text, &seconds) || !(seconds > 0) || seconds > most)
    return absl::InvalidArgumentError(absl::StrCat(
        "--", flag, " ", text, ": must be a number of seconds above 0 and at most ", most));
  return seconds;
}

absl::StatusOr<std::uint64_t> id_of(const std::string& what, const std::string& text)
{
  std::uint64_t id = 0;
  if (!absl::SimpleAtoi(text, &id) || id == 0)
    return absl::InvalidArgumentError(
        absl::StrCat("'", text, "' is no ", what, ": it is a number, as spillway status shows it"));
  return id;
}

absl::StatusOr<std::uint64_t> lineage_of(const std::string& text)
{
  constexpr std::size_t kHexDigits = 16;
  const bool marked = absl::StartsWith(text, "0x");
  std::uint64_t lineage = 0;
  if (marked || text.size() == kHexDigits)
  {
    if (absl::SimpleHexAtoi(text, &lineage) && lineage != 0) return lineage;
    return absl::InvalidArgumentError(absl::StrCat("'", text, "' is no lineage"));
  }
  return id_of("lineage", text);
}

}  // namespace spillway
