// SPDX-License-Identifier: Apache-2.0
#include "phrase.h"

#include <algorithm>
#include <cctype>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "holds.h"
#include "spillway/base/check.h"

namespace spillway::sim {
namespace {

std::vector<std::string> split(const std::string& line)
{
  return absl::StrSplit(line, ' ', absl::SkipEmpty());
}

// Each form of a phrase, with and without what stands in brackets.
std::vector<std::string> forms_of(const std::string& phrase)
{
  const std::size_t open = phrase.find('[');
  if (open == std::string::npos) return {phrase};
  const std::size_t close = phrase.find(']', open);
  SPILLWAY_CHECK(close != std::string::npos, "a bracket stays open in: ", phrase);
  std::vector<std::string> out;
  for (const std::string& rest : forms_of(phrase.substr(close + 1)))
  {
    out.push_back(phrase.substr(0, open) + phrase.substr(open + 1, close - open - 1) + rest);
    out.push_back(phrase.substr(0, open) + rest);
  }
  return out;
}

bool is_place(const std::string& word)
{
  return word.front() == '<';
}

std::string place_name(const std::string& word)
{
  return word.substr(1, word.find(':') - 1);
}

Place place_of(const std::string& word)
{
  static const std::map<std::string, Place> kinds = {
      {"worker", Place::kWorker},     {"new", Place::kNewName}, {"party", Place::kParty},
      {"messages", Place::kMessages}, {"work", Place::kWork},   {"count", Place::kCount},
      {"span", Place::kSpan}};
  const std::size_t colon = word.find(':');
  const auto kind = kinds.find(word.substr(colon + 1, word.size() - colon - 2));
  SPILLWAY_CHECK(kind != kinds.end(), "no such place: ", word);
  return kind->second;
}

bool read_span(const std::string& word, Duration& out)
{
  static const std::vector<std::pair<std::string, Duration>> units = {
      {"us", std::chrono::microseconds(1)},
      {"ms", std::chrono::milliseconds(1)},
      {"s", std::chrono::seconds(1)}};
  for (const auto& [unit, length] : units)
  {
    std::uint32_t many = 0;
    if (!word.ends_with(unit) ||
        !absl::SimpleAtoi(word.substr(0, word.size() - unit.size()), &many))
      continue;
    out = many * length;
    return true;
  }
  return false;
}

std::vector<std::string> held_words(bool messages)
{
  std::vector<std::string> out;
  for (std::size_t i = 0; i < kHeldWords.size(); ++i)
    if (is_message(static_cast<Held>(i)) == messages) out.emplace_back(kHeldWords[i]);
  return out;
}

// Words that may stand at a place, or an example of them.
std::vector<std::string> examples(Place place, const std::set<std::string>& names)
{
  switch (place)
  {
    case Place::kWorker:
    case Place::kParty: {
      std::vector<std::string> out(names.begin(), names.end());
      if (place == Place::kParty) out.emplace_back("coordinator");
      return out;
    }
    case Place::kNewName:
      return {"A", "B", "C"};
    case Place::kMessages:
      return held_words(true);
    case Place::kWork:
      return held_words(false);
    case Place::kCount:
      return {"3"};
    case Place::kSpan:
      return {"30ms"};
  }
  return {};
}

bool fits(Place place, const std::string& word, const std::set<std::string>& names)
{
  std::uint64_t count = 0;
  Duration span{};
  if (place == Place::kCount) return absl::SimpleAtoi(word, &count);
  if (place == Place::kSpan) return read_span(word, span);
  if (place == Place::kNewName)
    return std::isupper(static_cast<unsigned char>(word.front())) != 0 && !names.contains(word);
  const std::vector<std::string> known = examples(place, names);
  return std::find(known.begin(), known.end(), word) != known.end();
}

}  // namespace

std::uint64_t Words::count(const std::string& place) const
{
  std::uint64_t out = 0;
  if (const auto at = words_.find(place); at != words_.end())
    SPILLWAY_CHECK(absl::SimpleAtoi(at->second, &out), at->second, " is no count");
  return out;
}

Duration Words::span(const std::string& place, Duration otherwise) const
{
  if (const auto at = words_.find(place); at != words_.end())
    SPILLWAY_CHECK(read_span(at->second, otherwise), at->second, " is no span of time");
  return otherwise;
}

std::size_t distance(const std::string& a, const std::string& b)
{
  std::vector<std::size_t> row(b.size() + 1);
  for (std::size_t j = 0; j <= b.size(); ++j) row[j] = j;
  for (std::size_t i = 1; i <= a.size(); ++i)
  {
    std::size_t corner = std::exchange(row[0], i);
    for (std::size_t j = 1; j <= b.size(); ++j)
    {
      const std::size_t change = corner + (a[i - 1] == b[j - 1] ? 0 : 1);
      corner = std::exchange(row[j], std::min({row[j] + 1, row[j - 1] + 1, change}));
    }
  }
  return row[b.size()];
}

Phrasebook::Phrasebook(const std::vector<std::string>& phrases)
{
  for (std::size_t i = 0; i < phrases.size(); ++i)
    for (const std::string& form : forms_of(phrases[i])) forms_.push_back({i, split(form)});
}

absl::StatusOr<Phrasebook::Understood> Phrasebook::read(const std::string& line,
                                                        const std::set<std::string>& names) const
{
  const std::vector<std::string> given = split(line);
  std::size_t furthest = 0;
  std::set<std::string> expected;  // at the furthest word that some form reaches
  for (const Form& form : forms_)
  {
    Understood out{form.phrase, {}};
    std::size_t at = 0;
    const auto fit = [&](const std::string& word) {
      if (!is_place(word)) return word == given[at];
      if (!fits(place_of(word), given[at], names)) return false;
      out.words.put(place_name(word), given[at]);
      return true;
    };
    while (at < given.size() && at < form.words.size() && fit(form.words[at])) ++at;
    if (at == given.size() && at == form.words.size()) return out;
    if (at > furthest) expected.clear(), furthest = at;
    if (at < furthest || at == form.words.size()) continue;
    const std::string& word = form.words[at];
    if (!is_place(word))
      expected.insert(word);
    else
      for (const std::string& example : examples(place_of(word), names)) expected.insert(example);
  }
  if (furthest == given.size())
    return absl::InvalidArgumentError(
        absl::StrCat("something is missing at the end: ", absl::StrJoin(expected, ", ")));
  const std::string& word = given[furthest];
  if (expected.empty()) return absl::InvalidArgumentError(absl::StrCat("'", word, "' is too much"));
  const auto nearest = std::min_element(expected.begin(), expected.end(),
                                        [&](const std::string& a, const std::string& b) {
                                          return distance(a, word) < distance(b, word);
                                        });
  return absl::InvalidArgumentError(
      absl::StrCat("'", word, "' is not understood here; nearest is '", *nearest, "'"));
}

}  // namespace spillway::sim
