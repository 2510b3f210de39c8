// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <utility>
#include <vector>

#include "network.h"

namespace spillway::sim {

enum class Lane
{
  kData,
  kControlDown,
  kControlUp,
  kCompute,
  kApply,
  kPrepare,
  kCopy,
  kAgent,
  kNotice,
};

// One worker process: the real member core, and around it what the engine does with its actions,
// reduced to facts: a state is a hash, a bucket says who put what into it.
class Process
{
 public:
  Process(World& world, int index);

  // Life, as faults want it.
  void start();
  void kill(bool agent_sees);
  void pause();
  void resume();
  // Its agent will kill it, soon or late, and passes on nothing of it any more.
  void condemn();
  void hang() { hangs_ = true; }  // the loop does not come back
  void unhang();
  void fail_next_apply() { apply_fails_ = true; }
  void ask_to_leave(bool urgent);

  int index() const { return index_; }
  bool running() const { return life_ == Life::kRunning; }
  bool paused() const { return life_ == Life::kPaused; }
  bool alive() const { return running() || paused(); }
  bool condemned() const { return condemned_; }
  bool agent_alive() const { return agent_alive_; }
  bool leaving() const { return leaving_; }
  bool hanging() const { return hangs_; }
  WorkerId worker() const { return worker_; }
  const MemberCore* core() const { return core_.get(); }
  std::optional<StateName> state() const { return state_name_; }
  std::uint64_t state_hash() const { return state_hash_; }
  std::optional<StateName> kept() const
  {
    return kept_ ? std::optional<StateName>(kept_->name) : std::nullopt;
  }

  // Groups, as other processes and the network see them.
  std::set<Number> group_numbers() const;
  bool knows_peer(Number number, int peer) const;
  bool talks_in(Number number) const;  // has been told of it and not left it
  bool has_prepared(Number number) const;

  // What reaches the process. Waits while it is paused.
  void arrived(int from, const PeerMessage& message);
  void connection_up();
  void connection_down();
  void accepted(WorkerId worker, Lineage lineage);
  void received(const ControlMessage& message);
  void lease_extended(MonotonicTime until);
  // What a script has let go is done.
  void release_held();
  bool any_held(Lane lane) const;
  // Does it now, after the pause, or never.
  void when_running(std::function<void()> what);
  void later(Lane lane, std::function<void()> what);

 private:
  enum class Life
  {
    kRunning,
    kPaused,
    kDead,
  };
  struct Vote
  {
    Number prepared;
    bool last_step = false;
  };
  struct Group
  {
    MemberListPtr members;  // nullptr: only heard of, from peers that were faster
    bool told_prepared = false;
    int attempts = 0;
    std::vector<WorkerId> unreachable;
    std::map<std::pair<StepId, int>, std::map<int, invariants::Contribution>> buckets;
    std::map<StepId, std::map<int, Vote>> votes;
  };
  struct Buckets
  {
    StateName name;
    std::vector<std::vector<invariants::Contribution>> contributions;
  };

  void feed(MemberEvent event);
  bool is_held(Lane lane) const;
  // process_actions.cc: what the engine does for each action.
  void act(const SendStatus& action);
  void act(const SendProbeResult& action);
  void act(const Prepare& action);
  void act(const DropPrepared& action);
  void act(const StopNumber& action);
  void act(const EnterEpoch& action);
  void act(const SwitchTo& action);
  void act(const JoinNumber& action);
  void act(const CloseNumber& action);
  void act(const LeaveNumber& action);
  void act(const StandAside& action);
  void act(const CopyBase& action);
  void act(const InstallRange& action);
  void act(const StopCopying& action);
  void act(const AdoptInitialState& action);
  void act(const BeginStep& action);
  void act(const CastVote& action);
  void act(const Apply& action);
  void act(const RollForward& action);
  void act(const Finished& action);
  void act(const Exit& action);
  void act(const ProbePeer& action);
  void act(const MemberDecision& action);
  void act(const RuleBroken& action);

  // process_step.cc
  void compute(const BeginStep& action);
  void check_reduced();
  void check_word();
  void report(ProgressReport what, Duration after);
  void state_is(StateName name, std::uint64_t hash);
  std::uint64_t hash_after(const Buckets& buckets) const;
  void tell_reduced(const Buckets& buckets, std::uint64_t hash);
  void loop_comes_back();

  // process_copy.cc
  bool hears_early(const Process& peer);
  void try_connect_group(Number number);
  void ask_for_range(std::size_t range);
  void offer_range(const Process& donor, StateName state, std::size_t range);
  void close_groups_below(Number number, bool keep);
  void close_group(Number number, const std::set<WorkerId>& keep, bool keep_bytes);
  void lose_unreachable(Number number, const MemberList& members);
  void join_group(Number number, const MemberListPtr& members);
  void arrived_in_group(int from, const PeerMessage& message);

  World& world_;
  const int index_;
  Life life_ = Life::kRunning;
  bool agent_alive_ = true;
  bool leaving_ = false;
  bool urgent_ = false;
  bool hangs_ = false;
  bool condemned_ = false;
  bool apply_fails_ = false;
  bool in_loop_ = false;  // user code computes
  bool zeros_ = false;
  std::deque<std::function<void()>> backlog_;
  std::vector<std::pair<Lane, std::function<void()>>> held_;

  WorkerId worker_;
  std::unique_ptr<MemberCore> core_;
  std::deque<MemberEvent> inbox_;
  bool feeding_ = false;
  bool greets_ = false;  // the next status is a greeting

  std::optional<StateName> state_name_;
  std::uint64_t state_hash_ = 0;
  std::vector<std::optional<std::uint64_t>> ranges_;
  CopyBase copy_;
  std::uint64_t copy_attempt_ = 0;
  std::uint64_t staged_ = 0;  // of the range that was offered last
  std::optional<Buckets> reduced_, kept_;
  std::map<Number, Group> groups_;
  std::optional<BeginStep> step_;
  std::uint64_t attempt_ = 0;
  bool reduced_told_ = false, word_told_ = false, handed_in_ = false;
};

}  // namespace spillway::sim
