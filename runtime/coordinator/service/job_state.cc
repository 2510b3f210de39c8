// SPDX-License-Identifier: Apache-2.0
// Streams and nodes: who may come, who is silent, who has gone.
#include "service/job_state.h"

#include <algorithm>

#include "spillway/base/log.h"
#include "spillway/base/status.h"

namespace spillway::coordinator {
namespace {

constexpr std::size_t kNodesMax = 65536;

// P4: a member stops before the coordinator believes it dead.
Duration coordinator_lease(Duration members)
{
  return members + members / 10;
}

}  // namespace

JobState::JobState(std::string job, const RunnerOptions& options, Term term, StoredJob stored,
                   Lineage lineage, MonotonicTime now)
    : job_(std::move(job)),
      options_(options),
      term_(term),
      drawn_lineage_(lineage),
      now_(now),
      file_(std::move(stored.file)),
      round_began_(now)
{
  for (const auto& [id, kept] : file_.nodes)
    nodes_[id] = {.stream = {},
                  .last_heard = now,
                  .judged_at = deadline_after(now, options_.reconnect_grace),
                  .silent = false,
                  .links = {}};
  if (file_.options) make_core(std::move(stored.record));
}

void JobState::make_core(std::optional<JobRecord> record)
{
  const JobOptions& job = *file_.options;
  MembershipConfig config;
  config.min_members = job.workers_min;
  config.max_members = job.workers_max;
  config.others_may_come = job.nodes_max > 1;
  config.last_call = job.last_call;
  config.silence_timeout = options_.node_timeout;
  config.reconnect_grace = options_.reconnect_grace;
  config.progress_floor = options_.progress_floor;
  config.lease = coordinator_lease(job.lease);
  config.join_timeout = job.join_timeout;
  core_.emplace(config, std::move(record), drawn_lineage_, now_);
}

std::string JobState::encode() const
{
  return encode_job(file_, core_ ? &core_->record() : nullptr);
}

std::optional<Outgoing> JobState::on_heartbeat(StreamId stream, const Heartbeat& beat,
                                               MonotonicTime now)
{
  const auto at = streams_.find(stream);
  if (at == streams_.end() || !aside_.ok()) return std::nullopt;
  now_ = std::max(now_, now);
  heard(nodes_.at(at->second));
  return Outgoing{stream, NodeOrder(HeartbeatAck{beat.sequence})};
}

void JobState::on_message(StreamId stream, NodeMessage message, MonotonicTime now)
{
  now_ = std::max(now_, now);
  if (!aside_.ok()) return close_stream(stream, aside_);
  const auto at = streams_.find(stream);
  if (const auto* hello = std::get_if<NodeHello>(&message))
  {
    if (at == streams_.end()) on_hello(stream, *hello);
  }
  else if (at == streams_.end())
    close_stream(stream, absl::FailedPreconditionError(absl::StrCat(
                             "job ", job_, ": a stream must begin with the node's introduction")));
  else
  {
    const NodeId node = at->second;
    heard(nodes_.at(node));
    if (const auto* from = std::get_if<FromWorker>(&message)) on(node, *from);
    if (const auto* fate = std::get_if<WorkerFate>(&message)) on(node, *fate);
    if (const auto* wanted = std::get_if<RestartWanted>(&message)) on(node, *wanted);
    if (const auto* farewell = std::get_if<NodeFarewell>(&message)) leave(*farewell, node);
  }
  admit_newcomers();
  watch_departure();
  advance_rounds();
}

absl::Status JobState::check_node(const NodeHello& hello) const
{
  const bool born = core_ && (core_->record().newest || core_->record().next_worker != WorkerId(1));
  const AdmissionRule rule{.job = job_,
                           .lineage = born ? core_->record().lineage : Lineage(),
                           .spec = std::nullopt,
                           .spec_owner = {},
                           .options = file_.options};
  SPILLWAY_RETURN_IF_ERROR(admit_node(rule, hello));
  const JobOptions& options = hello.options;
  if (options.workers_min == 0 || options.workers_min > options.workers_max)
    return absl::InvalidArgumentError(
        absl::StrCat("job ", job_, ": the agent on ", hello.host, " asks for ", options.workers_min,
                     " to ", options.workers_max, " workers; it takes 1 <= minimum <= maximum"));
  if (options.lease <= Duration::zero())
    return absl::InvalidArgumentError(
        absl::StrCat("job ", job_, ": the agent on ", hello.host, " names no lease"));
  if (file_.nodes.size() >= kNodesMax && !file_.nodes.contains(hello.node))
    return absl::ResourceExhaustedError(
        absl::StrCat("job ", job_, " has ", kNodesMax, " nodes already"));
  return absl::OkStatus();
}

NodeId JobState::node_for(const NodeHello& hello)
{
  for (const auto& [id, kept] : file_.nodes)
    if (kept.session == hello.session) return id;  // also if its Welcome was lost
  // The number that it had from a store that was lost may be another agent's here.
  const bool free = hello.node && !file_.nodes.contains(hello.node);
  const NodeId id = free ? hello.node : file_.next_node;
  file_.next_node = std::max(file_.next_node, id.next());
  return id;
}

bool JobState::is_known(const NodeHello& hello) const
{
  return std::any_of(file_.nodes.begin(), file_.nodes.end(),
                     [&](const auto& entry) { return entry.second.session == hello.session; });
}

bool JobState::is_of_unknown_life(const NodeHello& hello) const
{
  const bool born = has_workers() || (core_ && core_->record().newest);
  return hello.lineage && !born && file_.round.round == 0;
}

void JobState::step_aside(const NodeHello& hello)
{
  aside_ = absl::UnavailableError(absl::StrCat(
      "job ", job_, ": the agent on ", hello.host, " (pid ", hello.pid, ") belongs to lineage ",
      hello.lineage.value(), ", of which the coordinator ", "that was started here has no record"));
  for (const auto& [id, node] : nodes_)
    if (node.stream) close_stream(node.stream, aside_);
  options_.on_unknown_life(aside_);
}

void JobState::on_hello(StreamId stream, const NodeHello& hello)
{
  if (aside_.ok() && options_.on_unknown_life && is_of_unknown_life(hello)) step_aside(hello);
  if (!aside_.ok()) return close_stream(stream, aside_);
  if (absl::Status status = check_node(hello); !status.ok()) return refuse_stream(stream, status);
  if (over() && !is_known(hello))
    return refuse_stream(
        stream,
        absl::FailedPreconditionError(absl::StrCat(
            "job ", job_, " has ended here (", end_reason_name(core_->record().ended),
            core_->record().end_detail.empty() ? "" : ": ", core_->record().end_detail,
            "), before the agent on ", hello.host,
            " came: for another run choose another --rdzv-id, or a coordinator with a new store")));
  if (!file_.options)
  {
    file_.options = hello.options;
    make_core(std::nullopt);
    unstored_ = true;
  }
  forget_lost_nodes();
  const NodeId id = node_for(hello);
  const auto old = file_.nodes.find(id);
  KeptNode kept{id,
                hello.session,
                hello.host,
                hello.address,
                hello.master_port,
                hello.slots,
                old == file_.nodes.end() ? 0 : old->second.round};
  if (old == file_.nodes.end() || old->second != kept)
  {
    file_.nodes[id] = std::move(kept);
    unstored_ = true;
  }
  if (nodes_.contains(id) && nodes_.at(id).stream)
  {
    close_stream(nodes_.at(id).stream,
                 absl::UnavailableError("the agent has opened another stream"));
    part_from_node(id, "its agent opened another stream", false);
  }
  Node& node = nodes_[id];
  node.stream = stream;
  node.silent = false;
  heard(node);
  streams_[stream] = id;
  log_info("job ", job_, ": node ", id.value(), " is connected: ", hello.host, ", ", hello.slots,
           " slots");
  const bool born = has_workers() || core_->record().newest;
  say(id, NodeWelcome{.node = id,
                      .site = SiteId(1),
                      .lineage = born ? core_->record().lineage : hello.lineage,
                      .term = term_.value(),
                      .heartbeat = options_.heartbeat,
                      .lease = file_.options->lease});
  if (over())
    say(id, job_over());
  else if (node.dismissed)
    say_that_all_is_done(id);
  else if (const std::uint64_t its = file_.nodes.at(id).round;
           its != 0 && (its == file_.round.round || !has_workers()))
    announce_round(id);  // it may not have heard of it, or that it goes on without this node
}

void JobState::on_disconnect(StreamId stream, MonotonicTime now)
{
  now_ = std::max(now_, now);
  const auto at = streams_.find(stream);
  if (at == streams_.end()) return;
  log_info("job ", job_, ": the stream of node ", at->second.value(), " is closed");
  part_from_node(at->second, "its agent's stream is closed", false);
  admit_newcomers();
  watch_departure();
  advance_rounds();
}

// Its stream is gone; what the core hears of its workers depends on whether it may come back.
void JobState::part_from_node(NodeId id, const std::string& why, bool silent)
{
  Node& node = nodes_.at(id);
  streams_.erase(node.stream);
  node.stream = StreamId();
  node.silent = silent;
  node.judged_at = deadline_after(now_, options_.node_timeout);
  while (!node.links.empty())
  {
    const auto [link, entry] = *node.links.begin();
    drop_link(id, link);
    if (silent && entry.worker) step(WorkerSilent{entry.worker, why});
  }
}

void JobState::leave(const NodeFarewell& farewell, NodeId id)
{
  log_info("job ", job_, ": node ", id.value(), " ends", farewell.fatal ? " and gives up" : "",
           farewell.reason.empty() ? "" : ": ", farewell.reason);
  Node& node = nodes_.at(id);
  while (!node.links.empty()) drop_link(id, node.links.begin()->first);
  for (WorkerId worker : workers_of(id)) exited(worker, "its agent ended");
  note_exit(farewell.exit);
  note_end_of_round(id, farewell);
  streams_.erase(node.stream);
  nodes_.erase(id);
  file_.nodes.erase(id);
  unstored_ = true;
  if (farewell.fatal && !over())
  {
    file_.exit = farewell.exit;
    step(EndRequested{absl::StrCat("node ", id.value(), " gave up: ", farewell.reason)});
  }
  dismiss_who_waits_for_a_round();
}

std::vector<WorkerId> JobState::workers_of(NodeId node) const
{
  std::vector<WorkerId> out;
  if (!core_) return out;
  for (const auto& member : core_->explain(now_).members)
    if (member.info.node == node) out.push_back(member.info.worker);
  return out;
}

void JobState::on_time(MonotonicTime now)
{
  now_ = std::max(now_, now);
  if (!aside_.ok()) return;
  watch_nodes();
  admit_newcomers();
  if (core_ && now_ >= core_->next_deadline()) step(Tick{});
  watch_departure();
  advance_rounds();
}

void JobState::heard(Node& node)
{
  node.last_heard = now_;
  node.judged_at = deadline_after(now_, options_.node_timeout);
}

// A node that is silent is cut off: its workers are judged, and it greets again if it lives.
void JobState::watch_nodes()
{
  for (auto& [id, node] : nodes_)
  {
    if (node.silent || now_ < node.judged_at) continue;
    const std::string why = absl::StrCat("the agent of node ", id.value(), " is silent");
    log_warning("job ", job_, ": ", why);
    if (node.stream)
      close_stream(node.stream, absl::UnavailableError(absl::StrCat(
                                    "job ", job_, ": no heartbeat in time; connect again")));
    part_from_node(id, why, true);
  }
}

// Nodes that are silent for the lease are not waited for any more; their workers are known dead.
void JobState::forget_lost_nodes()
{
  const Duration lease = coordinator_lease(file_.options->lease);
  for (auto at = nodes_.begin(); at != nodes_.end();)
  {
    if (!at->second.silent || now_ < deadline_after(at->second.last_heard, lease))
    {
      ++at;
      continue;
    }
    file_.nodes.erase(at->first);
    unstored_ = true;
    at = nodes_.erase(at);
  }
}

MonotonicTime JobState::next_deadline() const
{
  if (!aside_.ok()) return kForever;
  MonotonicTime next = std::min(rounds_due_, departs_at_);
  if (core_) next = std::min(next, core_->next_deadline());
  for (const auto& [id, node] : nodes_)
    if (!node.silent) next = std::min(next, node.judged_at);
  return next;
}

void JobState::say(NodeId node, NodeOrder order)
{
  const StreamId stream = nodes_.at(node).stream;
  if (stream) outgoing_.push_back({stream, std::move(order)});
}

void JobState::refuse_stream(StreamId stream, const absl::Status& why)
{
  log_warning("job ", job_, ": refused an agent: ", why.message());
  outgoing_.push_back({stream, NodeOrder(Refusal{why})});
  outgoing_.push_back({stream, why});
}

void JobState::close_stream(StreamId stream, const absl::Status& why)
{
  outgoing_.push_back({stream, why});
}

JobOver JobState::job_over() const
{
  return JobOver{core_->record().ended, core_->record().end_detail, file_.exit};
}

absl::Status JobState::end(const std::string& reason, MonotonicTime now)
{
  now_ = std::max(now_, now);
  if (!core_)
    return absl::FailedPreconditionError(
        absl::StrCat("job ", job_, " has not begun: no agent has come"));
  if (over())
    return absl::FailedPreconditionError(
        absl::StrCat("job ", job_, " is over already: ", core_->record().end_detail));
  file_.exit = {};
  step(EndRequested{reason});
  return absl::OkStatus();
}

absl::Status JobState::abandon_node(NodeId id, const std::string& reason, MonotonicTime now)
{
  now_ = std::max(now_, now);
  if (!nodes_.contains(id))
    return absl::NotFoundError(absl::StrCat("job ", job_, " has no node ", id.value()));
  const std::string why =
      absl::StrCat("an operator abandoned node ", id.value(), reason.empty() ? "" : ": ", reason);
  const std::vector<WorkerId> workers = workers_of(id);
  if (nodes_.at(id).stream) refuse_stream(nodes_.at(id).stream, absl::FailedPreconditionError(why));
  part_from_node(id, why, true);
  for (WorkerId worker : workers) exited(worker, why);
  nodes_.erase(id);
  file_.nodes.erase(id);
  unstored_ = true;
  watch_departure();
  advance_rounds();
  return absl::OkStatus();
}

}  // namespace spillway::coordinator
