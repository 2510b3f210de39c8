// SPDX-License-Identifier: Apache-2.0
#include "spillway/launcher/agent.h"

#include <signal.h>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "spillway/base/check.h"
#include "spillway/base/log.h"
#include "spillway/launcher/exit_code.h"
#include "spillway/launcher/process_state.h"

namespace spillway {
namespace {

constexpr std::chrono::milliseconds kTick{500};
constexpr std::chrono::seconds kFlushBound{2};
// A worker that ends is gone sooner after its link, and one that lives has linked itself anew.
constexpr std::chrono::seconds kUnlinkedMax{10};

std::string last_words(const WorkerEnded& ended)
{
  const std::vector<std::string>& lines =
      ended.last_stderr.empty() ? ended.last_stdout : ended.last_stderr;
  return lines.empty() ? "" : lines.back();
}

// The end of what the worker printed, so that nobody has to search for it.
void show_last_lines(const WorkerEnded& ended)
{
  const auto show = [](const char* name, const std::vector<std::string>& lines) {
    if (!lines.empty())
      log_error("its last lines on ", name, ":\n    ", absl::StrJoin(lines, "\n    "));
  };
  show("stdout", ended.last_stdout);
  show("stderr", ended.last_stderr);
}

}  // namespace

int Agent::run()
{
  policy_.by_rounds =
      plan_.options.rendezvous == RendezvousKind::kCoordinator && plan_.options.nodes_max > 1;
  const MonotonicTime give_up = deadline_after(clock_.now(), plan_.options.join_timeout);
  while (!exit_code_)
  {
    for (const JobEvent& event : control_.take()) on_job(event);
    if (!started_ && round_.round != 0 && round_.own_index >= 0) start_first_workers();
    if (!started_ && !exit_code_ && clock_.now() >= give_up)
    {
      log_error(
          "job ", plan_.options.job, ": fewer than ", plan_.options.nodes_min,
          " nodes came within --join-timeout, or their coordinator did not; the job ends here");
      exit_code_ = to_int(ExitCode::kBelowMinimum);
      control_.farewell(false, *exit_code_, "too few nodes came in time");
    }
    evict_who_stays_unlinked();
    if (exit_code_) break;
    for (const SupervisorEvent& event : supervisor_.wait(clock_.now() + kTick))
      on_supervisor(event);
  }
  keep_coordinator();
  supervisor_.flush_consoles(clock_.now() + kFlushBound);
  return *exit_code_;
}

void Agent::start_first_workers()
{
  started_ = true;
  decide(WorkersWanted());
}

// A start that fails is an event too: it comes after the actions of the event that asked for it.
void Agent::decide(const SlotEvent& event)
{
  undecided_.push_back(event);
  if (undecided_.size() > 1) return;
  for (; !undecided_.empty(); undecided_.pop_front())
    for (const SlotAction& action : slot_policy(policy_, undecided_.front())) act(action);
}

void Agent::act(const SlotAction& action)
{
  switch (action.kind)
  {
    case SlotAction::Kind::kStart:
      if (!action.reason.empty())
        log_info("local rank ", action.slot, ": starts a worker: ", action.reason);
      return start_worker(action);
    case SlotAction::Kind::kStop:
      return stop_worker(action);
    case SlotAction::Kind::kKill:
      return supervisor_.kill(action.slot, plan_.kill_delay);
    case SlotAction::Kind::kGiveUp:
      return log_error("local rank ", action.slot,
                       ": stays empty, the others go on: ", action.reason);
    case SlotAction::Kind::kAskForRound:
      log_info("job ", plan_.options.job,
               ": asks all nodes to start all workers anew: ", action.reason);
      return control_.request_restart(policy_.workers_round, action.reason);
    case SlotAction::Kind::kFinish:
      if (action.exit_code == 0)
        log_info("job ", plan_.options.job, ": ", action.reason);
      else
        log_error("job ", plan_.options.job, " ends with code ", action.exit_code, ": ",
                  action.reason);
      // Without restarts left a plain program ends on all nodes; on the API the others go on.
      control_.farewell(
          policy_.kind == JobKind::kPlain && action.exit_code != 0 && !policy_.stop_signal,
          action.exit_code, action.reason);
      exit_code_ = action.exit_code;
      return;
  }
}

// Ranks and rank 0's port for this attempt; the port is a new one for each restart.
void Agent::prepare_attempt(int attempt)
{
  const RunOptions& options = plan_.options;
  const bool by_rank = options.rendezvous == RendezvousKind::kStatic;
  if (by_rank)
  {
    placement_ = equal_placement(options.node_rank, options.nodes_max, plan_.workers);
    master_addr_ = options.master_addr;
    master_port_ = options.master_port;
    return;
  }
  SPILLWAY_CHECK(round_.own_index >= 0, "workers start in a round without this node");
  placement_ = {round_.own_index, static_cast<int>(round_.nodes.size()), plan_.workers, 0, 0};
  for (std::size_t i = 0; i < round_.nodes.size(); ++i)
  {
    if (static_cast<int>(i) < round_.own_index) placement_.first_rank += round_.nodes[i].slots;
    placement_.world_size += round_.nodes[i].slots;
  }
  master_addr_ = round_.nodes.front().address;
  master_port_ = port_of_round(round_.nodes.front().master_port, round_.round);
  if (round_.nodes.size() > 1) return;
  if (!port_ || port_attempt_ != attempt)
  {
    absl::StatusOr<PortReservation> port = PortReservation::take();
    if (port.ok())
      port_ = std::move(*port);
    else
      log_warning(port.status().message(), "; MASTER_PORT stays ", master_port_);
    port_attempt_ = attempt;
  }
  if (port_) master_port_ = port_->port();
}

void Agent::start_worker(const SlotAction& action)
{
  const int attempt = action.restart_count;
  if (policy_.kind != JobKind::kElastic || attempt == 0) prepare_attempt(attempt);
  WorkerIdentity identity;
  identity.local_rank = action.slot;
  identity.restart_count = attempt;
  identity.max_restarts = restart_limit(policy_);
  identity.master_addr = master_addr_;
  identity.master_port = master_port_;
  identity.job = plan_.options.job;
  identity.agent_socket = control_.agent_socket();
  identity.error_file = logs_.error_file(attempt, action.slot);
  identity.peer_address = plan_.node_address;
  WorkerLaunch launch;
  launch.slot = action.slot;
  launch.argv = plan_.command;
  launch.environment = worker_environment(plan_.environment, plan_.options, placement_, identity);
  logs_.plan(plan_.options, attempt, placement_.first_rank + action.slot, supervisor_, launch);
  const absl::StatusOr<pid_t> pid = supervisor_.start(std::move(launch));
  if (!pid.ok())
  {
    log_error("local rank ", action.slot, ": no worker: ", pid.status().message());
    const int code = to_int(exit_code_for(pid.status()));
    return decide(WorkerExit{
        action.slot, {ExitReason::How::kExited, code, false}, false, false, false, true});
  }
  log_debug("local rank ", action.slot, ": worker has pid ", *pid);
  workers_[action.slot] = Worker{*pid, attempt};
}

void Agent::stop_worker(const SlotAction& action)
{
  const auto found = workers_.find(action.slot);
  if (found == workers_.end()) return;
  log_debug("local rank ", action.slot, ": worker is asked to end: ", action.reason);
  // On a signal to the agent workers leave at a step boundary; nobody else notices.
  const bool departs = policy_.stop_signal && found->second.registered;
  if (departs) found->second.told_to_leave = true;
  if (departs && control_.request_leave(found->second.pid))
    return supervisor_.kill(action.slot, plan_.options.shutdown_timeout);
  supervisor_.stop(action.slot);
}

std::optional<int> Agent::slot_of(pid_t pid) const
{
  for (const auto& [slot, worker] : workers_)
  {
    if (worker.pid == pid) return slot;
  }
  return std::nullopt;
}

void Agent::on_supervisor(const SupervisorEvent& event)
{
  // What was heard before a process ended belongs before its end: a registration decides how the
  // job is treated.
  for (const JobEvent& heard : control_.take()) on_job(heard);
  if (const auto* ended = std::get_if<WorkerEnded>(&event))
    on_ended(*ended);
  else if (const auto* stopped = std::get_if<WorkerStopped>(&event))
    on_stopped(*stopped);
  else if (const auto* signal = std::get_if<SignalReceived>(&event))
    on_signal(signal->number);
}

void Agent::on_ended(const WorkerEnded& ended)
{
  const auto found = workers_.find(ended.slot);
  SPILLWAY_CHECK(found != workers_.end() && found->second.pid == ended.pid, "unknown worker ended");
  const Worker worker = found->second;
  workers_.erase(found);
  control_.report_exited(ended.pid, ended.reason, last_words(ended));
  const bool asked = policy_.stop_signal || policy_.end_code || policy_.restarting ||
                     worker.told_to_leave || (policy_.job_done && !worker.registered);
  // Who was asked to end may do so by the signal or by our kill, but not by a fault of its own.
  const int signal = ended.reason.how == ExitReason::How::kSignaled ? ended.reason.number : 0;
  const bool crashed = signal == SIGSEGV || signal == SIGBUS || signal == SIGABRT ||
                       signal == SIGFPE || signal == SIGILL || signal == SIGSYS;
  if (!ended.reason.success() && (!asked || crashed))
  {
    log_error("local rank ", ended.slot, ": worker (pid ", ended.pid, ") ", ended.reason.describe(),
              worker.registered ? "" : " without having used the API");
    show_last_lines(ended);
  }
  decide(WorkerExit{ended.slot, ended.reason, worker.registered, worker.applied,
                    worker.told_to_leave, worker.refused, ended.forced});
}

void Agent::on_stopped(const WorkerStopped& stopped)
{
  evict(stopped.slot, absl::StrCat("its process ", stopped.pid, " is stopped by a signal"));
}

// What a worker leaves behind may live on, a script that started it or threads after its run was
// given up: the others train without it, and its place is free only when the process is gone.
void Agent::evict_who_stays_unlinked()
{
  const MonotonicTime now = clock_.now();
  for (auto& [slot, worker] : std::map<int, Worker>(workers_))
  {
    if (!worker.unlinked_since || worker.released || worker.refused || policy_.job_done) continue;
    if (now < deadline_after(*worker.unlinked_since, kUnlinkedMax)) continue;
    workers_.at(slot).unlinked_since.reset();
    evict(slot, "its link to this agent ended, and its process has neither ended nor come back");
  }
}

// P12: report silent, so that the others go on; show where it stands; kill; the exit is reported
// when it is reaped.
void Agent::evict(int slot, const std::string& why)
{
  const auto found = workers_.find(slot);
  if (found == workers_.end()) return;
  control_.report_silent(found->second.pid, why);
  log_warning("local rank ", slot, ": worker (pid ", found->second.pid, ") is evicted: ", why,
              "; its threads:\n",
              describe_threads(found->second.said != 0 ? found->second.said : found->second.pid));
  decide(WorkerSilent{slot, why});
}

void Agent::on_signal(int number)
{
  log_info("received ", signal_name(number),
           policy_.stop_signal ? " again: workers are killed" : ": the workers of this node end");
  if (!started_)
  {
    control_.farewell(false, 128 + number, "stopped before the workers started");
    exit_code_ = 128 + number;
    return;
  }
  decide(StopRequest{number});
}

void Agent::on_round(const RoundAnnounced& round)
{
  if (round.round <= round_.round) return;
  round_ = round;
  if (round.own_index < 0)
  {
    log_info("job ", plan_.options.job, ": round ", round.round,
             " goes on without this node, which waits");
  }
  decide(RoundBegan{round.round, round.own_index >= 0});
}

void Agent::on_job(const JobEvent& event)
{
  if (const auto* round = std::get_if<RoundAnnounced>(&event)) return on_round(*round);
  if (const auto* over = std::get_if<JobOverHeard>(&event))
  {
    if (over->done && !started_)
    {
      log_info("job ", plan_.options.job, " was done before this node could take part");
      exit_code_ = 0;
    }
    if (over->done) return decide(JobDone());
    if (over->exit_code == 0)
      log_info("job ", plan_.options.job, " is over: ", over->why);
    else
      log_error("job ", plan_.options.job, " is over: ", over->why);
    if (!started_) exit_code_ = over->exit_code;
    return decide(JobEnd{over->exit_code, over->use_worker_code, over->why});
  }
  if (const auto* refused = std::get_if<NodeRefused>(&event))
  {
    log_error("job ", plan_.options.job, " refuses this node: ", refused->why.message());
    if (!started_) exit_code_ = to_int(ExitCode::kRefused);
    return decide(JobEnd{to_int(ExitCode::kRefused), false, std::string(refused->why.message())});
  }
  const pid_t pid = std::visit(
      [](const auto& about) {
        if constexpr (requires { about.pid; })
          return about.pid;
        else
          return pid_t{0};
      },
      event);
  const std::optional<int> slot = slot_of(pid);
  if (!slot) return;
  Worker& worker = workers_.at(*slot);
  if (const auto* registered = std::get_if<WorkerRegistered>(&event))
  {
    worker.registered = true;
    worker.said = registered->said;
    worker.unlinked_since.reset();
    supervisor_.watch_state(*slot, registered->said);
    policy_.anybody_registered = true;
  }
  else if (std::holds_alternative<WorkerApplied>(event))
    worker.applied = true;
  else if (std::holds_alternative<WorkerUnlinked>(event))
    worker.unlinked_since = clock_.now();
  else if (const auto* released = std::get_if<WorkerReleased>(&event))
  {
    worker.released = true;
    worker.told_to_leave = worker.told_to_leave || released->left;
  }
  else if (const auto* no = std::get_if<WorkerRefused>(&event))
  {
    log_error("local rank ", *slot, ": the job refuses the worker: ", no->why.message());
    worker.refused = true;
  }
  else if (const auto* order = std::get_if<EvictionOrdered>(&event))
    evict(*slot, order->why);
}

// Other nodes train on with the coordinator inside this process: it stays until they are done, or
// somebody asks again.
void Agent::keep_coordinator()
{
  bool said = false;
  for (int nodes = control_.nodes_to_wait_for(); nodes > 0; nodes = control_.nodes_to_wait_for())
  {
    if (!said)
      log_info("the coordinator inside this process stays for ", nodes,
               " other node(s); a signal ends it");
    said = true;
    for (const SupervisorEvent& event : supervisor_.wait(clock_.now() + kTick))
    {
      if (std::holds_alternative<SignalReceived>(event)) return;
    }
    control_.take();
  }
}

}  // namespace spillway
