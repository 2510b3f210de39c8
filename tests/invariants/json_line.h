// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <map>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace spillway::invariants {

// Just enough of JSON to read one line of an event log: objects, arrays, strings, unsigned
// integers, true, false, null. Other numbers are kept as text.
struct JsonValue
{
  enum class Kind
  {
    kNull,
    kBool,
    kNumber,
    kText,
    kArray,
    kObject
  };
  Kind kind = Kind::kNull;
  std::uint64_t number = 0;  // also 0 or 1 for a bool
  std::string text;
  std::vector<JsonValue> array;
  std::map<std::string, JsonValue> object;

  // The member `key`, or null.
  const JsonValue& at(const std::string& key) const;
  bool has(const std::string& key) const { return object.count(key) != 0; }
};

// kDataLoss when `line` is not one whole value.
absl::StatusOr<JsonValue> parse_json_line(absl::string_view line);

}  // namespace spillway::invariants
