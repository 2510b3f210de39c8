// SPDX-License-Identifier: Apache-2.0
// Workers: what they and their agents say becomes events of the membership core, what the core
// wants becomes orders.
#include <algorithm>

#include "service/job_state.h"
#include "spillway/base/log.h"

namespace spillway::coordinator {
namespace {

constexpr std::chrono::seconds kDepartureGrace{2};

}  // namespace

bool JobState::has_workers() const
{
  return core_ && core_->record().next_worker != WorkerId(1);
}

void JobState::on(NodeId node, const FromWorker& from)
{
  if (const auto* hello = std::get_if<WorkerHello>(&from.message))
    return on_worker(node, from.link, *hello);
  const auto& links = nodes_.at(node).links;
  const auto at = links.find(from.link);
  // Not accepted yet, or cut off meanwhile: it will greet again.
  if (at == links.end() || !at->second.worker) return;
  on_worker_word(at->second.worker, from.message);
}

void JobState::on_worker_word(WorkerId worker, const WorkerMessage& message)
{
  // Who is to be killed would become a member again by its words, and its death a second fault
  // (detail 12).
  Place& place = places_.at(worker);
  if (place.silent) return;
  if (const auto* update = std::get_if<StatusUpdate>(&message))
    step(StatusReported{worker, update->status});
  else if (const auto* progress = std::get_if<ProgressReport>(&message))
    step(ProgressReported{worker, *progress});
  else if (const auto* probe = std::get_if<ProbeResult>(&message))
    step(ProbeReported{worker, *probe});
  else if (const auto* telemetry = std::get_if<Telemetry>(&message))
    place.telemetry = *telemetry;
}

void JobState::on_worker(NodeId node, LinkId link, const WorkerHello& hello)
{
  Link& entry = nodes_.at(node).links[link];
  if (entry.token != 0) return;  // said twice; the first is being answered
  if (entry.worker && !hello.worker)
    return tell_worker(
        node, link,
        Welcome{entry.worker, node, SiteId(1), core_->record().lineage, file_.options->lease});
  const bool born = has_workers() || core_->record().newest;
  if (!born && !hello.worker && !greetings_.empty())
  {
    // Somebody's lineage waits to be adopted (P11): its ids may not be given to others.
    entry.hello = hello;
    newcomers_.emplace(node, link);
    return;
  }
  const AdmissionRule rule{.job = job_,
                           .lineage = born ? core_->record().lineage : Lineage(),
                           .spec = file_.spec,
                           .spec_owner = file_.spec_owner,
                           .options = file_.options};
  absl::Status status = admit_worker(rule, hello);
  if (status.ok() && over() && !hello.worker)
    status = absl::FailedPreconditionError(
        absl::StrCat("job ", job_, " is over: ", core_->record().end_detail));
  if (!status.ok())
  {
    log_warning("job ", job_, ": refused a worker: ", status.message());
    nodes_.at(node).links.erase(link);
    return tell_worker(node, link, Refusal{status});
  }
  if (hello.worker)
    if (const auto old = places_.find(hello.worker); old != places_.end())
    {
      const Place place = old->second;
      drop_link(place.node, place.link);
    }
  const std::uint64_t token = ++last_token_;
  Link& fresh = nodes_.at(node).links[link];
  fresh = {.worker = {}, .token = token, .hello = hello};
  greetings_[token] = {node, link};
  WorkerGreeted greeted{.token = token, .hello = {}};
  greeted.hello.worker = hello.worker;
  greeted.hello.info = {.worker = hello.worker,
                        .node = node,
                        .site = hello.site,
                        .address = hello.peer_address,
                        .weight = hello.weight};
  greeted.hello.status = hello.status;
  greeted.hello.members = hello.members;
  step(greeted);
}

void JobState::admit_newcomers()
{
  const bool born = core_ && (has_workers() || core_->record().newest);
  if (newcomers_.empty() || (!born && !greetings_.empty())) return;
  for (const auto& [node, link] : std::exchange(newcomers_, {}))
  {
    const WorkerHello hello = nodes_.at(node).links.at(link).hello;
    on_worker(node, link, hello);
  }
}

void JobState::on(NodeId node, const WorkerFate& fate)
{
  const auto& links = nodes_.at(node).links;
  const auto at = links.find(fate.link);
  const WorkerId worker = at != links.end() && at->second.worker ? at->second.worker : fate.worker;
  switch (fate.kind)
  {
    case WorkerFate::Kind::kDisconnected:
      return drop_link(node, fate.link);
    case WorkerFate::Kind::kSilent:
      if (!worker) return;
      silenced(worker);
      return step(WorkerSilent{worker, fate.reason});
    case WorkerFate::Kind::kExited:
      note_exit(fate.exit);
      // Reaped: what the core hears first decides how it names the loss.
      if (worker) exited(worker, fate.reason);
      return drop_link(node, fate.link);
  }
}

// The worker's connection ended; it may live.
void JobState::drop_link(NodeId node, LinkId link)
{
  auto& links = nodes_.at(node).links;
  const auto at = links.find(link);
  if (at == links.end()) return;
  const Link entry = std::move(at->second);
  links.erase(at);
  greetings_.erase(entry.token);
  newcomers_.erase({node, link});
  if (entry.worker) places_.erase(entry.worker);
  const WorkerId known = entry.worker ? entry.worker : entry.hello.worker;
  // It may have greeted again meanwhile: then that greeting is the one which is held or answered.
  const auto greets = [&](const auto& held) {
    const Greeting& greeting = held.second;
    return nodes_.at(greeting.node).links.at(greeting.link).hello.worker == known;
  };
  const bool again =
      places_.contains(known) || std::any_of(greetings_.begin(), greetings_.end(), greets);
  if (known && !again) step(WorkerDisconnected{known});
}

void JobState::silenced(WorkerId worker)
{
  if (const auto at = places_.find(worker); at != places_.end()) at->second.silent = true;
}

void JobState::exited(WorkerId worker, const std::string& reason)
{
  if (core_) step(WorkerExited{worker, reason});
}

void JobState::note_exit(const ExitReport& exit)
{
  if (over() || (exit.exit_code == 0 && exit.signal == 0)) return;
  file_.exit = exit;  // stored with the next record; only the end of the job needs it
}

void JobState::tell_worker(NodeId node, LinkId link, WorkerOrder order)
{
  say(node, ToWorkers{{link}, std::move(order)});
}

void JobState::step(const MembershipEvent& event)
{
  if (!aside_.ok()) return;
  for (const MembershipAction& action : core_->step(event, now_))
    std::visit([this](const auto& a) { carry_out(a); }, action);
  for (const MembershipEvent& next : std::exchange(follow_ups_, {})) step(next);
}

void JobState::carry_out(const Persist&)
{
  unstored_ = true;  // the core's record is whole at any time
}

void JobState::carry_out(const Send& action)
{
  // The job goes on, so no earlier death has ended it.
  if (std::holds_alternative<EpochAnnouncement>(action.message)) file_.exit = {};
  const bool release = std::holds_alternative<Release>(action.message);
  std::map<NodeId, std::vector<LinkId>> links;
  for (WorkerId worker : action.to)
    if (const auto at = places_.find(worker); at != places_.end())
    {
      links[at->second.node].push_back(at->second.link);
      if (release) nodes_.at(at->second.node).left.insert(worker);
    }
  for (auto& [node, to] : links) say(node, ToWorkers{std::move(to), action.message});
}

void JobState::carry_out(const Accept& action)
{
  const auto at = greetings_.find(action.token);
  if (at == greetings_.end())
  {
    // Its connection ended while the greeting was held.
    follow_ups_.emplace_back(WorkerDisconnected{action.worker});
    return;
  }
  const Greeting greeting = at->second;
  greetings_.erase(at);
  Link& link = nodes_.at(greeting.node).links.at(greeting.link);
  link.token = 0;
  link.worker = action.worker;
  places_[action.worker] = {greeting.node, greeting.link, {}};
  if (!file_.spec)
  {
    file_.spec = link.hello.spec;
    file_.spec_owner = action.worker;
    unstored_ = true;
  }
  tell_worker(
      greeting.node, greeting.link,
      Welcome{action.worker, greeting.node, SiteId(1), action.lineage, file_.options->lease});
}

void JobState::carry_out(const Refuse& action)
{
  const auto at = greetings_.find(action.token);
  if (at == greetings_.end()) return;
  const Greeting greeting = at->second;
  greetings_.erase(at);
  nodes_.at(greeting.node).links.erase(greeting.link);
  tell_worker(greeting.node, greeting.link, Refusal{action.status});
}

// Its workers train on, within their lease, and wait for the real record or for an adoption.
void JobState::carry_out(const RecordIsOld& action)
{
  if (!aside_.ok()) return;
  aside_ = absl::UnavailableError(absl::StrCat(
      "job ", job_, ": the record in this coordinator's store is older than the job (", action.why,
      "), so nothing is served from it: put the newest copy of the store, with its -wal, in its ",
      "place; if there is none, start the coordinator with a new store and see `spillway adopt`"));
  log_error("ALARM: ", aside_.message());
  for (const auto& [id, node] : nodes_)
    if (node.stream) close_stream(node.stream, aside_);
}

void JobState::carry_out(const Evict& action)
{
  const auto at = places_.find(action.worker);
  if (at == places_.end()) return;
  at->second.silent = true;
  say(at->second.node, EvictOrder{at->second.link, action.worker, action.reason});
}

void JobState::carry_out(const Decision& action)
{
  log_info("job ", job_, " [", action.rule, "] ", action.text);
}

void JobState::carry_out(const JobEnded&)
{
  if (core_->record().ended == EndReason::kFinished) file_.exit = {};
  for (const auto& [id, node] : nodes_) say(id, job_over());
}

absl::Status JobState::adopt(Lineage lineage, MonotonicTime now)
{
  now_ = std::max(now_, now);
  if (!core_)
    return absl::FailedPreconditionError(
        absl::StrCat("job ", job_, ": no agent has come, there is nothing to adopt"));
  step(AdoptRequested{lineage});
  admit_newcomers();
  if (core_->record().lineage == lineage && core_->record().newest) return absl::OkStatus();
  return absl::FailedPreconditionError(
      absl::StrCat("job ", job_, ": nobody who waits here belongs to lineage ", lineage.value(),
                   "; `spillway explain` names the one that can be adopted"));
}

absl::Status JobState::abandon_worker(WorkerId worker, const std::string& reason, MonotonicTime now)
{
  now_ = std::max(now_, now);
  bool known = false;
  if (core_)
    for (const auto& member : core_->explain(now_).members)
      known = known || (member.info.worker == worker && !member.dead);
  if (!known)
    return absl::NotFoundError(absl::StrCat("job ", job_, " waits for no worker ", worker.value()));
  const std::string why =
      absl::StrCat("an operator abandoned it", reason.empty() ? "" : ": ", reason);
  // If it does live, its agent ends it.
  if (places_.contains(worker)) carry_out(Evict{worker, why});
  exited(worker, why);
  return absl::OkStatus();
}

// All workers of each node that is here, and of each that may come back, want to leave: a signal to
// every agent, say. A node with a place that is empty may yet fill it.
bool JobState::every_node_leaves() const
{
  std::map<NodeId, std::uint32_t> leaving;
  for (const WorkerId worker : core_->leaving_altogether())
    if (const auto at = places_.find(worker); at != places_.end()) ++leaving[at->second.node];
  if (leaving.empty()) return false;
  return std::all_of(nodes_.begin(), nodes_.end(), [&](const auto& entry) {
    const auto at = leaving.find(entry.first);
    const std::size_t count = at == leaving.end() ? 0 : at->second;
    return entry.second.silent || count + entry.second.left.size() >= kept(entry.first).slots;
  });
}

// P15 keeps the last holder for who may come. Where everybody is told to go it is kept for no
// longer than agents that are told one after another need.
void JobState::watch_departure()
{
  if (!core_ || over() || !every_node_leaves())
  {
    departs_at_ = kForever;
    return;
  }
  if (departs_at_ == kForever) departs_at_ = deadline_after(now_, kDepartureGrace);
  if (now_ < departs_at_) return;
  departs_at_ = deadline_after(now_, kDepartureGrace);  // again, if an abort is open
  step(AllNodesLeave{});
}

}  // namespace spillway::coordinator
