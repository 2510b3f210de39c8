// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <map>
#include <optional>
#include <set>
#include <string>
#include <unordered_map>
#include <variant>
#include <vector>

#include "absl/hash/hash.h"
#include "service/job_file.h"
#include "spillway/coordinator/admission.h"
#include "spillway/coordinator/job_runner.h"

namespace spillway::coordinator {

// What one stream is to be told, or why it is to be closed.
struct Outgoing
{
  StreamId stream;
  std::variant<NodeOrder, absl::Status> what;
};

// All that a runner knows of its job, without threads and I/O: translates between agents and the
// membership core, and keeps nodes, links and rounds. What it wants said may leave only after
// stored() when has_unstored(). One thread at a time. One file per concern: job_state.cc (streams,
// nodes), job_workers.cc (workers, the core's events and actions), job_rounds.cc, job_report.cc.
class JobState
{
 public:
  // `lineage` is used if the job is born here.
  JobState(std::string job, const RunnerOptions& options, Term term, StoredJob stored,
           Lineage lineage, MonotonicTime now);

  // A heartbeat never waits for the store. Nothing if the stream is not a known node's.
  std::optional<Outgoing> on_heartbeat(StreamId stream, const Heartbeat& beat, MonotonicTime now);
  void on_message(StreamId stream, NodeMessage message, MonotonicTime now);
  void on_disconnect(StreamId stream, MonotonicTime now);
  void on_time(MonotonicTime now);
  MonotonicTime next_deadline() const;

  absl::Status adopt(Lineage lineage, MonotonicTime now);
  absl::Status abandon_worker(WorkerId worker, const std::string& reason, MonotonicTime now);
  absl::Status abandon_node(NodeId node, const std::string& reason, MonotonicTime now);
  absl::Status end(const std::string& reason, MonotonicTime now);
  JobReport report(MonotonicTime now) const;

  // The members'.
  Duration lease() const { return file_.options ? file_.options->lease : Duration::zero(); }
  bool has_unstored() const { return unstored_; }
  std::string encode() const;
  void stored() { unstored_ = false; }
  std::vector<Outgoing> take_outgoing() { return std::exchange(outgoing_, {}); }
  std::size_t outgoing_count() const { return outgoing_.size(); }

 private:
  struct Link
  {
    WorkerId worker;          // zero: not accepted
    std::uint64_t token = 0;  // of an introduction that the core has not answered
    WorkerHello hello;
  };
  struct Node
  {
    StreamId stream;  // zero: not connected
    MonotonicTime last_heard;
    MonotonicTime judged_at;  // silent, unless it is heard before
    bool silent = false;
    bool dismissed = false;     // told that the program has ended without it
    std::set<WorkerId> left{};  // released by plan: their places stay empty
    std::map<LinkId, Link> links;
  };
  // Where a worker is reached, and how it goes on.
  struct Place
  {
    NodeId node;
    LinkId link;
    Telemetry telemetry;
    bool silent = false;  // judged so on this connection, and not heard since
  };
  struct Greeting
  {
    NodeId node;
    LinkId link;
  };

  // job_state.cc
  void on_hello(StreamId stream, const NodeHello& hello);
  absl::Status check_node(const NodeHello& hello) const;
  bool is_known(const NodeHello& hello) const;
  bool is_of_unknown_life(const NodeHello& hello) const;
  void step_aside(const NodeHello& hello);
  NodeId node_for(const NodeHello& hello);
  void leave(const NodeFarewell& farewell, NodeId node);
  void part_from_node(NodeId node, const std::string& why, bool silent);
  void heard(Node& node);
  void watch_nodes();
  void forget_lost_nodes();
  std::vector<WorkerId> workers_of(NodeId node) const;
  void say(NodeId node, NodeOrder order);
  void refuse_stream(StreamId stream, const absl::Status& why);
  void close_stream(StreamId stream, const absl::Status& why);
  bool over() const { return core_ && core_->record().ended != EndReason::kRunning; }
  JobOver job_over() const;
  void make_core(std::optional<JobRecord> record);
  const KeptNode& kept(NodeId node) const { return file_.nodes.at(node); }

  // job_workers.cc
  void on(NodeId node, const FromWorker& from);
  void on(NodeId node, const WorkerFate& fate);
  void on_worker(NodeId node, LinkId link, const WorkerHello& hello);
  void on_worker_word(WorkerId worker, const WorkerMessage& message);
  void admit_newcomers();
  void drop_link(NodeId node, LinkId link);
  void silenced(WorkerId worker);
  void exited(WorkerId worker, const std::string& reason);
  void note_exit(const ExitReport& exit);
  void tell_worker(NodeId node, LinkId link, WorkerOrder order);
  // Steps the core and carries out what it wants.
  void step(const MembershipEvent& event);
  void carry_out(const Persist& action);
  void carry_out(const Send& action);
  void carry_out(const Accept& action);
  void carry_out(const Refuse& action);
  void carry_out(const RecordIsOld& action);
  void carry_out(const Evict& action);
  void carry_out(const Decision& action);
  void carry_out(const JobEnded& action);
  bool has_workers() const;

  // job_rounds.cc
  void on(NodeId node, const RestartWanted& wanted);
  void advance_rounds();
  void watch_departure();
  bool every_node_leaves() const;
  void meet();
  void take_in_late_nodes();
  void begin_round(const std::vector<NodeId>& nodes);
  void announce_round(NodeId node);
  void note_end_of_round(NodeId node, const NodeFarewell& farewell);
  void dismiss_who_waits_for_a_round();
  void say_that_all_is_done(NodeId node);
  std::vector<NodeId> present_nodes() const;
  bool somebody_may_return() const;
  Rendezvous::Node round_entry(NodeId node) const;

  const std::string job_;
  const RunnerOptions options_;
  const Term term_;
  const Lineage drawn_lineage_;
  MonotonicTime now_;

  JobFile file_;
  std::optional<MembershipCore> core_;  // once the job's options are known
  bool unstored_ = false;
  std::vector<Outgoing> outgoing_;
  absl::Status aside_;  // why nobody is served

  std::map<NodeId, Node> nodes_;  // the keys of file_.nodes
  std::unordered_map<StreamId, NodeId, absl::Hash<StreamId>> streams_;
  std::unordered_map<WorkerId, Place, absl::Hash<WorkerId>> places_;
  std::map<std::uint64_t, Greeting> greetings_;
  std::vector<MembershipEvent> follow_ups_;        // of what the core wanted
  std::set<std::pair<NodeId, LinkId>> newcomers_;  // wait until a lineage is adopted, or gone
  std::uint64_t last_token_ = 0;

  // Rounds.
  MonotonicTime last_call_at_ = kForever;    // the first meeting closes
  MonotonicTime restart_wanted_ = kForever;  // since when somebody waits for a new round
  MonotonicTime round_began_;
  bool round_ended_well_ = false;  // on some node, for a program with a rendezvous of its own
  MonotonicTime rounds_due_ = kForever;
  MonotonicTime departs_at_ = kForever;  // every node leaves since a little before
};

}  // namespace spillway::coordinator
