// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "script.h"

namespace spillway::sim {

// Does the lines of a script in a world.
class Director
{
 public:
  Director(const ProtocolRules& rules, Branches& branches, bool trace);
  Outcome run(const Script& script);

  // For phrases. The world begins with the first step; settings come before.
  Setup& setup() { return setup_; }
  World& world() { return *world_; }
  int index(const std::string& name) const;  // of a worker or the coordinator
  Process& process(const Words& words, const char* place = "who");
  const MemberCore* core(const Words& words);
  // What the coordinator thinks of it.
  std::optional<MembershipExplanation::Member> known(const Words& words);
  Happening pattern(const Words& words) const;
  bool any_held(const Happening& pattern);
  void start(const std::string& name);
  void wait(Duration span);
  void unreachable(int from, int to);

 private:
  Setup setup_;
  Branches& branches_;
  bool trace_;
  std::unique_ptr<World> world_;
  std::map<std::string, int> names_;
};

// What one phrase does. One of the three.
struct Phrase
{
  std::string words;
  std::function<void(Director&, const Words&)> set{};
  std::function<void(Director&, const Words&)> act{};
  std::function<bool(Director&, const Words&)> until{};
};
const std::vector<Phrase>& phrases();

}  // namespace spillway::sim
