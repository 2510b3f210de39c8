// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "control.h"
#include "network.h"

namespace spillway::sim {

// What a script can keep from happening: messages under way, and a process's own work.
enum class Held
{
  kBuckets,
  kVotes,
  kBases,
  kAborts,
  kEpochs,
  kPlans,
  kReleases,
  kStatuses,
  kComputing,
  kApplying,
  kPreparing,
  kCopying,
};
// The words of scripts for them, in the same order.
inline constexpr std::array<const char*, 12> kHeldWords = {
    "buckets",  "votes",    "bases",     "aborts",   "epochs",    "plans",
    "releases", "statuses", "computing", "applying", "preparing", "copying"};
inline bool is_message(Held what)
{
  return what < Held::kComputing;
}

inline constexpr int kAnybody = -2;

// One thing that is about to happen. Work is from its process to itself.
struct Happening
{
  Held what = Held::kBuckets;
  int from = kAnybody;
  int to = kAnybody;
  Number number;
  StepId step;
};
Happening happening(int from, int to, const PeerMessage& message);
// nullopt for what can not be held.
std::optional<Happening> happening(int to, const DownMessage& message);
std::optional<Happening> happening_up(int from, const UpMessage& message);

// What is held now. A zero number or step, or kAnybody, stands for all.
class Holds
{
 public:
  void add(const Happening& pattern) { patterns_.push_back(pattern); }
  // False if nothing of the kind was held.
  bool remove(const Happening& pattern);
  void clear() { patterns_.clear(); }
  bool empty() const { return patterns_.empty(); }
  bool holds(const Happening& what) const;
  bool holds(const std::optional<Happening>& what) const { return what && holds(*what); }
  static bool fits(const Happening& pattern, const Happening& what);

 private:
  std::vector<Happening> patterns_;
};

}  // namespace spillway::sim
