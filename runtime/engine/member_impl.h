// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <deque>
#include <map>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "spillway/engine/member.h"

namespace spillway {

// The state of one member and its transitions, one file per concern: member_control.cc (what the
// coordinator says), member_step.cc (begin, vote, apply, switch), member_join.cc (entering,
// copying), member.cc (dispatch, faults, status).
class MemberCore::Impl
{
 public:
  Impl(MemberConfig config, ProtocolRules rules, BranchObserver* observer);

  std::vector<MemberAction> step(const MemberEvent& event, MonotonicTime now);

  const MemberStatus& status() const { return status_; }
  MemberListPtr members() const { return members_; }
  bool stopped() const { return rules_.stopped_is_a_promise && status_.promised > status_.current; }
  std::optional<StateName> serves() const;
  bool holds_for_lease(MonotonicTime now) const { return lease_until_ && now >= *lease_until_; }

 private:
  struct Word
  {
    Number min_prepared;
    Number max_prepared;
  };
  enum class Applying
  {
    kNothing,
    kStep,
    kRollForward,
  };

  // member.cc
  void on(const ControlReceived& event);
  void on(const ConnectionUp& event);
  void on(const ConnectionDown& event);
  void on(const LeaseExtended& event);
  void on(const LoopReady& event);
  void on(const Prepared& event);
  void on(const PeersUnreachable& event);
  void on(const LinkLost& event);
  void on(const LeaveRequested& event);
  void on(const LastStepAgreed& event);
  void on(const ProbeFinished& event);
  void report_fault(Number number, WorkerId peer, const std::string& reason);
  void report_early_fault();
  void send_status_if_changed();
  void branch(const char* name);
  void decide(const char* rule, std::string text);
  template <typename Action>
  void emit(Action action)
  {
    actions_.emplace_back(std::in_place_type<Action>, std::move(action));
  }
  std::string self() const { return "member " + to_string(config_.self); }

  // member_control.cc
  void control(const Abort& message);
  void control(const EpochAnnouncement& message);
  void control(const PendingAnnouncement& message);
  void control(const ProbeRequest& message);
  void control(const Release& message);
  MemberListPtr resolve(Number number, const MemberListUpdate& update);
  void end_pending(Number number);
  void drop_prepared_up_to(Number number);
  void stop_current();

  // member_step.cc
  void advance(MonotonicTime now);
  void try_prepare();
  bool try_begin();
  bool lease_allows(const char* what, StepId step, MonotonicTime now);
  bool try_vote(MonotonicTime now);
  bool try_apply(MonotonicTime now);
  StepId target() const;
  bool control_only(StepId step) const
  {
    return status_.last_step && step == status_.last_step.next();
  }
  StepName step_name(StepId step) const;
  void on(const BucketsReduced& event);
  void on(const WordComplete& event);
  void on(const Applied& event);
  void applied_step(StateName state);
  void close_old_numbers();
  void switch_to(Number number);
  Number number_to_switch_to(const Word& word);
  void reset_step();

  // member_join.cc
  void on(const BaseNamed& event);
  void on(const RangeArrived& event);
  void enter_formed(const EpochAnnouncement& message, MemberListPtr list);
  void join(const BaseNamed& event);
  void hear_early_bases();
  void start_copying(std::vector<WorkerId> donors);
  std::vector<WorkerId> copiers_of(const EpochAnnouncement& message, const MemberList& list) const;
  std::vector<WorkerId> joiners_of(Number number) const;

  MemberConfig config_;
  ProtocolRules rules_;
  BranchObserver* observer_;
  std::vector<MemberAction> actions_;

  MemberStatus status_;
  MemberStatus sent_;
  bool connected_ = false;
  bool answer_again_ = false;  // an Abort came (again): the promise is repeated
  bool exited_ = false;
  bool holding_ = false;  // said that the lease ran out
  std::optional<MonotonicTime> lease_until_;

  // The current number.
  MemberListPtr members_;
  std::vector<WorkerId> copiers_;  // ascending; of a joiner: only itself is known
  std::optional<StateName> base_;
  bool loop_ready_ = false;
  bool at_rest_ = true;  // nobody changes the state: the loop asked for its next step (P8)
  StepId begun_;
  bool reduced_ = false;  // every bucket of begun_
  StepId voted_step_;
  Number vote_named_;
  std::optional<Word> word_;  // of begun_
  Applying applying_ = Applying::kNothing;
  std::deque<ControlMessage> deferred_;  // what came during an apply

  // Numbers above the current one, and transports below it.
  Number pending_;
  Number prepared_;                   // newest
  std::vector<Number> prepared_set_;  // ascending; may become current
  std::set<Number> preparing_;        // announced with this member, neither current nor ended
  std::set<Number> connected_groups_;
  std::map<Number, MemberListPtr> lists_;
  std::map<Number, std::vector<WorkerId>> expected_joiners_;
  std::map<Number, BaseNamed> early_bases_;
  std::map<Number, LinkLost> early_faults_;
  std::map<Number, MemberListPtr> open_numbers_;

  // The copy under way.
  std::optional<StateName> copying_;
  std::vector<bool> have_;
};

}  // namespace spillway
