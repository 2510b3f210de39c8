// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "spillway/base/clock.h"

namespace spillway::sim {

// The words of a line that stand where its phrase has places, by the places' names.
class Words
{
 public:
  bool has(const std::string& place) const { return words_.contains(place); }
  const std::string& text(const std::string& place) const { return words_.at(place); }
  std::uint64_t count(const std::string& place) const;  // 0 if the line has none
  Duration span(const std::string& place, Duration otherwise) const;
  void put(const std::string& place, std::string word) { words_[place] = std::move(word); }

 private:
  std::map<std::string, std::string> words_;
};

// What a word may be at a place. `kNewName` is a name that no line before has given.
enum class Place
{
  kWorker,
  kNewName,
  kParty,
  kMessages,
  kWork,
  kCount,
  kSpan,
};

// The phrases that a script may use, such as "kill <who:worker> [with its agent]". What stands in
// brackets may be left out.
class Phrasebook
{
 public:
  explicit Phrasebook(const std::vector<std::string>& phrases);

  struct Understood
  {
    std::size_t phrase = 0;
    Words words;
  };
  // kInvalidArgument names the first word that no phrase has there, and the nearest that one has.
  absl::StatusOr<Understood> read(const std::string& line,
                                  const std::set<std::string>& names) const;

 private:
  struct Form
  {
    std::size_t phrase = 0;
    std::vector<std::string> words;
  };
  std::vector<Form> forms_;
};

// How many letters must change.
std::size_t distance(const std::string& a, const std::string& b);

}  // namespace spillway::sim
