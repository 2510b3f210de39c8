// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <map>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"

// The flags of the commands other than `run`: a table each, one way to read them.
namespace spillway {

struct OperatorFlag
{
  const char* name;   // without dashes
  const char* value;  // what --help calls its value; nullptr for a switch
  const char* help;
  bool repeated = false;
};

struct OperatorArguments
{
  std::map<std::string, std::vector<std::string>> values;  // a switch has one empty value
  std::vector<std::string> words;                          // what is no flag
  bool has(const std::string& name) const { return values.contains(name); }
  std::string value(const std::string& name, const std::string& otherwise) const;
};

// '-' and '_' are equal, values follow '=' or a space. kInvalidArgument names the nearest flag.
// --help and -h are always known.
absl::StatusOr<OperatorArguments> read_operator_flags(const std::string& command,
                                                      absl::Span<const OperatorFlag> flags,
                                                      absl::Span<const std::string> arguments);

std::string operator_help(const std::string& usage, const std::string& about,
                          absl::Span<const OperatorFlag> flags);

// Seconds above 0, at most `most`; kInvalidArgument names the flag.
absl::StatusOr<double> seconds_of(const std::string& flag, const std::string& text, double most);

// A plain decimal number above 0.
absl::StatusOr<std::uint64_t> id_of(const std::string& what, const std::string& text);
// As messages print a lineage: decimal, 0x and hex digits, or exactly 16 hex digits.
absl::StatusOr<std::uint64_t> lineage_of(const std::string& text);

}  // namespace spillway
