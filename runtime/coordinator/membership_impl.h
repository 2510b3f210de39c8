// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <deque>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "formation.h"
#include "spillway/coordinator/membership.h"

namespace spillway {

// The state of one job and its transitions, one file per concern: membership.cc (dispatch and
// construction), membership_workers.cc (who is heard, silent, dead; classes of workers),
// membership_change.cc (abort, form, publish, release), membership_send.cc (announcements),
// membership_adopt.cc (fencing, P11), membership_watch.cc (time: leases, probes, progress),
// membership_explain.cc.
//
// Cost: an event touches one worker and updates counters and small sets; whole lists are walked
// only when the newest number, the pending one or the abort changes, and once when the last
// awaited answer arrives.
class MembershipCore::Impl
{
 public:
  Impl(MembershipConfig config, std::optional<JobRecord> record, Lineage lineage, MonotonicTime now,
       ProtocolRules rules, BranchObserver* observer);

  std::vector<MembershipAction> step(const MembershipEvent& event, MonotonicTime now);
  MonotonicTime next_deadline() const;
  MembershipExplanation explain(MonotonicTime now) const;
  const JobRecord& record() const { return record_; }
  std::vector<WorkerId> leaving_altogether() const;

 private:
  // What a walk over all workers looks at comes first and lies close together, for that walk waits
  // for memory more than it computes.
  struct Worker
  {
    explicit Worker(WorkerId its_id) : id(its_id) { info.worker = its_id; }

    const WorkerId id;
    bool connected = false;
    bool has_status = false;
    bool silent = false;
    bool dead = false;
    bool released = false;
    bool sent_release = false;
    bool was_forgotten = false;  // greeted when the others had gone on, or may have, without it
    // Classes, kept by classify().
    bool in_newest = false;
    unsigned classes = 0;
    int active_lists = 0;  // numbers that may be active and list it
    // What it has been sent on this connection.
    Number sent_abort;
    Number sent_epoch;
    Number sent_pending;
    Number whole_list_of;  // asked for the whole list of this number
    MonotonicTime timer = kForever;
    MemberStatus status;  // last reported; counts only while connected
    MemberInfo info;
    MonotonicTime quiet_since{};               // since when neither connected nor heard
    std::optional<LinkFault> counted_fault{};  // has made a pair already (P14)
    // P13
    std::uint64_t waits_in = 0;  // Progress::round in which it has said that it waits
    std::optional<MonotonicTime> busy_until{};

    bool answers(Number abort) const
    {
      return connected && !silent && has_status && status.promised == abort;
    }
  };
  // What classify() finds a worker to be; a bit each.
  enum Class : unsigned
  {
    kAwaited = 1,       // has not answered the open abort
    kAvailable = 2,     // connected, heard, not leaving: could be a member
    kSawFirstWord = 4,  // member of the newest number that saw its first word
    kCallsForAbort = 8,
    kJoiner = 16,
    kLeaver = 32,   // member that wants to leave
    kParting = 64,  // left, not yet released
    kFinished = 128,
    kSilent = 256,
  };
  unsigned classes_of(const Worker& worker) const;

  struct Probe
  {
    MonotonicTime next;
    Duration interval;
    std::set<WorkerId> reached;  // by these the other was reached, in this round
  };
  struct Progress  // P13: the step that somebody waits in
  {
    Number number;
    StepId step;
    std::uint64_t round = 0;     // never reused
    MonotonicTime since;         // the first member's loop handed in
    MonotonicTime last_hand_in;  // so far the last one did
    std::size_t waiting = 0;     // members that have handed in
    std::size_t loops = 0;       // of them with what their loops computed
    MonotonicTime last_report;
    Duration limit{};
  };
  struct Computing  // P13: some member computes long
  {
    StepId step;  // the newest that such a member has begun
    MonotonicTime since;
    MonotonicTime last_report;
    Duration limit{};  // then nobody handing in is worth a word
    bool told = false;
  };

  // membership.cc
  void on(const WorkerGreeted& event);
  void on(const StatusReported& event);
  void on(const WorkerDisconnected& event);
  void on(const WorkerSilent& event);
  void on(const WorkerExited& event);
  void on(const ProgressReported& event);
  void on(const ProbeReported& event);
  void on(const PlanRequested& event);
  void on(const AdoptRequested& event);
  void on(const EndRequested& event);
  void on(const AllNodesLeave& event);
  void on(const Tick& event);
  void persist();
  void decide(const char* rule, std::string text);
  void branch(const char* name);
  template <typename Action>
  void emit(Action action)
  {
    actions_.emplace_back(std::in_place_type<Action>, std::move(action));
  }

  // membership_workers.cc
  Worker* find(WorkerId worker);
  const Worker* find(WorkerId worker) const;
  Worker& put(WorkerId worker);
  Worker& expect(WorkerId worker);
  void expect_members();
  void forget_if_gone(WorkerId worker);
  template <typename Function>
  void each_worker(Function&& function)
  {
    for (auto& worker : workers_)
      if (worker) function(*worker);
  }
  WorkerId accept(const WorkerGreeted& event);
  void take_status(Worker& worker, const MemberStatus& status);
  void heard_active(Number number, Number switched_from);
  void remember_absent(const std::vector<WorkerId>& holders, const MemberList& list);
  void silence(Worker& worker, const std::string& reason);
  void classify(Worker& worker);
  void classify_all();
  template <typename Prepare>
  void classify_each(const Prepare& prepare);
  void lists_changed();
  bool calls_for_abort(const Worker& worker) const;
  bool promise_unanswered(const Worker& worker) const;
  void set_timer(Worker& worker, MonotonicTime at);

  // membership_change.cc
  void advance();
  bool try_first_epoch();
  bool try_abort();
  void begin_abort(const std::string& reason);
  FormationVerdict judge_answers();
  bool try_form();
  void form(Number number, Formation formation);
  void lose_state();
  bool too_few() const;
  void watch_size();
  bool try_publish();
  std::optional<std::string> reason_to_publish(const std::vector<WorkerId>& wanted) const;
  bool try_end_with_all_leaving();
  std::vector<WorkerId> desired() const;
  void keep_a_holder(const std::vector<WorkerId>& present, std::vector<WorkerId>& members) const;
  void publish(const std::vector<WorkerId>& members, const std::string& reason);
  bool pending_is_troubled() const;
  bool pending_wish_is_urgent() const;
  bool too_many_published() const;
  bool try_release();
  void end(EndReason reason, const std::string& detail);
  MemberListPtr list_of(const std::vector<WorkerId>& workers) const;
  std::vector<WorkerPair> bad_pairs() const;

  // membership_send.cc
  using BatchKey = std::tuple<int, Number, Number>;  // kind, number, list it is relative to
  void flush(Worker& worker);
  void flush_touched();
  template <typename Make>
  void add_to_batch(int kind, Number number, Number base, WorkerId worker, const Make& make);
  void send_release(Worker& worker);
  void send_abort(Worker& worker);
  bool must_hear_of_newest(const Worker& worker) const;
  void send_epoch(Worker& worker);
  void send_pending(Worker& worker);
  const MemberList* list_held_by(const Worker& worker, Number target, Number& base) const;
  CopierSet copier_set(const NumberRecord& content) const;
  std::uint64_t first_cut_hash(const NumberRecord& content) const;

  // membership_adopt.cc
  bool is_from_later(const Hello& hello);
  bool fence(const WorkerGreeted& event);
  bool try_adopt();
  std::pair<Number, MemberListPtr> newest_reported() const;
  void adopt_outside_numbers();
  void adopt(bool by_operator);

  // membership_explain.cc
  std::string next_in_words(MonotonicTime now) const;

  // membership_watch.cc
  void watch_quiet_workers();
  void watch_pairs();
  void remember_pair(WorkerId a, WorkerId b, const std::string& how);
  void remember_pairs_of_faults(const std::vector<Worker*>& answering);
  void take_waiting(Worker& worker, const ProgressReport& report);
  void take_back(Worker& worker);
  void take_computing(const ProgressReport& report);
  bool nobody_hands_in(MonotonicTime now) const;
  std::string nobody_in_words(MonotonicTime now) const;
  MonotonicTime computing_deadline() const;
  void watch_computing();
  void watch_progress();
  MonotonicTime progress_deadline() const;
  bool all_wait() const;
  void evict_who_lets_others_wait(const Progress& progress);
  bool copies_base(const Worker& worker) const;
  void give_up_stalled_step();

  MembershipConfig config_;
  ProtocolRules rules_;
  BranchObserver* observer_;
  MonotonicTime now_;
  std::vector<MembershipAction> actions_;

  JobRecord record_;
  Number abort_;  // under way in this life; record_.open_abort may be an earlier life's
  WorkerId reserved_workers_;                     // ids below are persisted as given
  std::vector<std::unique_ptr<Worker>> workers_;  // by id

  // Classes of workers.
  std::size_t awaited_count_ = 0;
  std::size_t available_count_ = 0;  // connected, heard, not leaving: could be members
  std::size_t first_words_ = 0;      // members of the newest number that saw its first word
  std::set<WorkerId> alarms_;        // call for an abort
  std::set<WorkerId> joiners_;
  std::set<WorkerId> leavers_;    // members that want to leave
  bool all_nodes_leave_ = false;  // said with the event under way
  std::set<WorkerId> parting_;    // left, not yet released
  std::set<WorkerId> finished_;
  std::set<WorkerId> silent_;

  std::vector<WorkerId> touched_;
  bool all_touched_ = false;
  std::map<Number, MemberListPtr> recent_lists_;  // that members may still hold
  std::map<WorkerPair, Probe> pairs_;
  std::set<std::pair<MonotonicTime, WorkerId>> timers_;
  std::optional<Progress> progress_;
  std::uint64_t progress_rounds_ = 0;
  std::optional<Computing> computing_;
  StepId stalled_step_;  // given up last although all had handed it in
  unsigned stalls_ = 0;  // how often in a row
  std::string stall_;    // why the next abort begins
  std::vector<WorkerId> waiting_for_;
  std::string waits_;
  MonotonicTime last_call_at_ = kForever;
  MonotonicTime too_few_since_ = kForever;
  std::vector<std::string> plan_reasons_;
  bool plan_is_urgent_ = false;
  std::map<WorkerId, WorkerGreeted> fenced_;  // of a lineage this store does not know (P11)
  Lineage fenced_lineage_;
  std::map<BatchKey, Send> batches_;
  std::map<BatchKey, Send>::iterator last_batch_ = batches_.end();
  std::deque<MembershipExplanation::Past> decisions_;
};

}  // namespace spillway
