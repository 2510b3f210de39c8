// SPDX-License-Identifier: Apache-2.0
#include "collect_flags.h"

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_replace.h"
#include "spillway/base/status.h"
#include "spillway/launcher/flag_table.h"

namespace spillway {
namespace {

absl::StatusOr<const FlagSpec*> match_long(const std::string& given)
{
  const std::string name = absl::StrReplaceAll(given, {{"_", "-"}});
  if (const FlagSpec* exact = find_run_flag(name)) return exact;
  std::vector<std::string> longer;
  std::vector<std::string> all{"help"};
  const FlagSpec* last = nullptr;
  for (const FlagSpec& flag : run_flags())
  {
    all.emplace_back(flag.name);
    if (name.empty() || !absl::StartsWith(flag.name, name)) continue;
    longer.push_back(absl::StrCat("--", flag.name));
    last = &flag;
  }
  if (longer.size() == 1) return last;
  if (longer.size() > 1)
  {
    return absl::InvalidArgumentError(
        absl::StrCat("--", given, " could be ", absl::StrJoin(longer, " or ")));
  }
  return absl::InvalidArgumentError(absl::StrCat("unknown flag --", given, "; did you mean --",
                                                 nearest_name(name, all),
                                                 "? (spillway run --help lists all)"));
}

absl::StatusOr<const FlagSpec*> match_short(const std::string& argument)
{
  for (const FlagSpec& flag : run_flags())
  {
    if (flag.short_name != 0 && flag.short_name == argument[1]) return &flag;
  }
  return absl::InvalidArgumentError(
      absl::StrCat("unknown flag ", argument,
                   "; the short ones are -m, -r and -t (spillway run --help lists all)"));
}

struct Given
{
  const FlagSpec* flag = nullptr;
  std::optional<std::string> value;  // the part behind '=', or behind a short name
};

absl::StatusOr<Given> read_flag(const std::string& argument)
{
  Given given;
  if (absl::StartsWith(argument, "--"))
  {
    const std::size_t equals = argument.find('=');
    SPILLWAY_ASSIGN_OR_RETURN(given.flag, match_long(argument.substr(2, equals - 2)));
    if (equals != std::string::npos) given.value = argument.substr(equals + 1);
    return given;
  }
  SPILLWAY_ASSIGN_OR_RETURN(given.flag, match_short(argument));
  if (argument.size() > 2) given.value = argument.substr(argument[2] == '=' ? 3 : 2);
  return given;
}

absl::Status add_from_environment(const EnvironmentLookup& lookup, CollectedFlags& out)
{
  for (const FlagSpec& flag : run_flags())
  {
    const std::string variable = variable_of(flag);
    if (variable.empty() || out.values.contains(std::string(flag.name))) continue;
    const std::optional<std::string> value = lookup(variable);
    if (!value) continue;
    if (flag.kind == FlagKind::kSwitch && *value != "0" && *value != "1")
    {
      return absl::InvalidArgumentError(
          absl::StrCat(variable, "=", *value, ": must be 0 or 1, it stands for --", flag.name));
    }
    out.values[std::string(flag.name)] = *value;
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<CollectedFlags> collect_flags(absl::Span<const std::string> arguments,
                                             const EnvironmentLookup& lookup)
{
  CollectedFlags out;
  std::size_t at = 0;
  for (; at < arguments.size(); ++at)
  {
    const std::string& argument = arguments[at];
    if (argument == "--")
    {
      ++at;
      break;
    }
    if (argument.size() < 2 || argument[0] != '-') break;
    if (argument == "-h" || argument == "--help")
    {
      out.values["help"] = "1";
      continue;
    }
    SPILLWAY_ASSIGN_OR_RETURN(Given given, read_flag(argument));
    if (given.flag->kind == FlagKind::kSwitch)
    {
      if (given.value)
      {
        return absl::InvalidArgumentError(
            absl::StrCat("--", given.flag->name, " takes no value, but was given ", argument));
      }
      given.value = "1";
    }
    if (!given.value && at + 1 < arguments.size()) given.value = arguments[++at];
    if (!given.value || given.value->empty())
    {
      return absl::InvalidArgumentError(
          absl::StrCat("--", given.flag->name, " needs a value: ", given.flag->help));
    }
    out.values[std::string(given.flag->name)] = *given.value;
  }
  out.program.assign(arguments.begin() + static_cast<std::ptrdiff_t>(at), arguments.end());
  SPILLWAY_RETURN_IF_ERROR(add_from_environment(lookup, out));
  return out;
}

}  // namespace spillway
