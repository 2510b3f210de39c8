// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "absl/types/span.h"

// The one list of flags of `spillway run`: parsing, --help, PET_ variables, suggestions and the
// tests all read it. Pure data, safe from any thread.
namespace spillway {

enum class FlagKind
{
  kValue,
  kSwitch
};

enum class FlagOrigin
{
  kTorchrun,
  kSpillway
};

struct FlagSpec
{
  absl::string_view name;  // without the dashes, words joined by '-'
  char short_name;         // 0 when there is none
  FlagKind kind;
  FlagOrigin origin;
  bool has_variable;  // PET_<NAME> for torchrun's flags, SPILLWAY_<NAME> for ours
  absl::string_view help;
};

absl::Span<const FlagSpec> run_flags();

// `name` without dashes; '_' counts as '-'. nullptr when there is no such flag.
const FlagSpec* find_run_flag(absl::string_view name);

// The environment variable that stands for the flag, or empty.
std::string variable_of(const FlagSpec& flag);

// Levenshtein distance, where a swap of neighbours counts one.
int edit_distance(absl::string_view a, absl::string_view b);

// The candidate with the smallest distance to `name`; the first of equals.
std::string nearest_name(absl::string_view name, absl::Span<const std::string> candidates);

}  // namespace spillway
