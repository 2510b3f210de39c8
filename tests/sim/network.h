// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <deque>
#include <map>
#include <set>
#include <tuple>
#include <utility>
#include <vector>

#include "ledger.h"
#include "spillway/engine/member.h"

namespace spillway::sim {

class World;
struct Happening;

inline constexpr int kCoordinator = -1;

// What members say to each other in a number's group.
struct PeerMessage
{
  enum class Kind
  {
    kBucket,
    kVote,
    kBase,
    kBroken,  // the link: nothing comes any more
  } kind = Kind::kBucket;
  Number number;
  StepId step;
  int bucket = 0;
  invariants::Contribution contribution{};
  Number prepared;         // of a vote
  bool last_step = false;  // of a vote: its voter wants this step to be the last
  BaseNamed base{};
};

// The links between processes, one for each number and direction, and what cuts them. A link is
// reliable until it breaks: then a random part of what was under way arrives, and an error. A cut
// holds what is under way; after a while both ends notice, unless it has healed before.
class Network
{
 public:
  explicit Network(World& world) : world_(world) {}

  void send(int from, int to, PeerMessage message);
  // Both directions of one number's link. `keep`: a random part of what is under way still
  // arrives; otherwise nothing.
  void break_link(Number number, int a, int b, bool keep);
  bool is_broken(Number number, int a, int b) const;
  // Anew, as preparing a number does with what broke before.
  void make_link(Number number, int a, int b);
  // Every link of a process that died.
  void break_all(int process, bool keep);
  // The receiver takes up what waited for it.
  void wake(int process);

  // kCoordinator stands for the control plane.
  void cut(int from, int to);
  void heal(int from, int to);
  void heal_all();
  bool is_cut(int from, int to) const { return cuts_.contains({from, to}); }
  bool reachable(int a, int b) const
  {
    return !is_cut(a, b) && !is_cut(b, a) && !refusals_.contains(std::minmax(a, b));
  }
  const std::set<std::pair<int, int>>& cuts() const { return cuts_; }

  // For scripts. New connections between the two fail; what stands is not touched.
  void refuse(int a, int b) { refusals_.insert(std::minmax(a, b)); }
  void refuse_no_more(int a, int b) { refusals_.erase(std::minmax(a, b)); }
  // What is held and fits is lost.
  void lose(const Happening& pattern);
  bool any_held(const Happening& pattern) const;

 private:
  using Key = std::tuple<Number, int, int>;
  struct UnderWay
  {
    MonotonicTime due;
    PeerMessage message;
  };
  struct Link
  {
    std::deque<UnderWay> queue;
    bool broken = false;
  };
  void break_direction(Number number, int from, int to, bool keep);
  void pump(const Key& key);
  void notice_cut(int a, int b);
  bool is_held(int from, int to, const PeerMessage& message) const;

  World& world_;
  std::map<Key, Link> links_;
  std::set<std::pair<int, int>> cuts_;
  std::set<std::pair<int, int>> refusals_;
};

}  // namespace spillway::sim
