// SPDX-License-Identifier: Apache-2.0
#include "json_line.h"

#include <cctype>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "spillway/base/status.h"

namespace spillway::invariants {
namespace {

constexpr int kMaxDepth = 8;

class Parser
{
 public:
  explicit Parser(absl::string_view text) : text_(text) {}

  absl::StatusOr<JsonValue> whole()
  {
    SPILLWAY_ASSIGN_OR_RETURN(JsonValue result, value(0));
    skip_space();
    if (at_ != text_.size()) return wrong("more after the value");
    return result;
  }

 private:
  absl::StatusOr<JsonValue> value(int depth)
  {
    if (depth > kMaxDepth) return wrong("too deep");
    skip_space();
    if (at_ == text_.size()) return wrong("ends early");
    JsonValue result;
    switch (text_[at_])
    {
      case '{':
        return object(depth);
      case '[':
        return array(depth);
      case '"': {
        result.kind = JsonValue::Kind::kText;
        SPILLWAY_ASSIGN_OR_RETURN(result.text, string());
        return result;
      }
      default:
        return word();
    }
  }

  absl::StatusOr<JsonValue> object(int depth)
  {
    JsonValue result;
    result.kind = JsonValue::Kind::kObject;
    ++at_;
    if (accept('}')) return result;
    while (true)
    {
      skip_space();
      if (at_ == text_.size() || text_[at_] != '"') return wrong("a key expected");
      SPILLWAY_ASSIGN_OR_RETURN(std::string key, string());
      if (!accept(':')) return wrong("a colon expected");
      SPILLWAY_ASSIGN_OR_RETURN(JsonValue member, value(depth + 1));
      result.object[key] = std::move(member);
      if (accept('}')) return result;
      if (!accept(',')) return wrong("a comma expected");
    }
  }

  absl::StatusOr<JsonValue> array(int depth)
  {
    JsonValue result;
    result.kind = JsonValue::Kind::kArray;
    ++at_;
    if (accept(']')) return result;
    while (true)
    {
      SPILLWAY_ASSIGN_OR_RETURN(JsonValue element, value(depth + 1));
      result.array.push_back(std::move(element));
      if (accept(']')) return result;
      if (!accept(',')) return wrong("a comma expected");
    }
  }

  absl::StatusOr<std::string> string()
  {
    std::string result;
    for (++at_; at_ < text_.size(); ++at_)
    {
      if (text_[at_] == '"')
      {
        ++at_;
        return result;
      }
      if (text_[at_] == '\\' && at_ + 1 < text_.size()) ++at_;
      result += text_[at_];
    }
    return wrong("a string without an end");
  }

  absl::StatusOr<JsonValue> word()
  {
    const std::size_t begin = at_;
    while (at_ < text_.size() && (std::isalnum(static_cast<unsigned char>(text_[at_])) != 0 ||
                                  text_[at_] == '-' || text_[at_] == '+' || text_[at_] == '.'))
    {
      ++at_;
    }
    JsonValue result;
    result.text = std::string(text_.substr(begin, at_ - begin));
    if (result.text.empty()) return wrong("a value expected");
    if (result.text == "null") return result;
    if (result.text == "true" || result.text == "false")
    {
      result.kind = JsonValue::Kind::kBool;
      result.number = result.text == "true" ? 1 : 0;
      return result;
    }
    double real = 0;
    if (!absl::SimpleAtoi(result.text, &result.number) && !absl::SimpleAtod(result.text, &real))
    {
      return wrong("not a value");
    }
    result.kind = JsonValue::Kind::kNumber;
    return result;
  }

  void skip_space()
  {
    while (at_ < text_.size() && std::isspace(static_cast<unsigned char>(text_[at_])) != 0) ++at_;
  }
  bool accept(char wanted)
  {
    skip_space();
    if (at_ == text_.size() || text_[at_] != wanted) return false;
    ++at_;
    return true;
  }
  absl::Status wrong(absl::string_view what) const
  {
    return absl::DataLossError(absl::StrCat(what, " at column ", at_ + 1));
  }

  absl::string_view text_;
  std::size_t at_ = 0;
};

}  // namespace

const JsonValue& JsonValue::at(const std::string& key) const
{
  static const JsonValue null;
  const auto member = object.find(key);
  return member == object.end() ? null : member->second;
}

absl::StatusOr<JsonValue> parse_json_line(absl::string_view line)
{
  return Parser(line).whole();
}

}  // namespace spillway::invariants
