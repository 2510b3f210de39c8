// SPDX-License-Identifier: Apache-2.0
#include "coordinated_job.h"

#include <unistd.h>

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "spillway/base/log.h"
#include "spillway/base/status.h"
#include "spillway/launcher/exit_code.h"
#include "spillway/launcher/process_state.h"

namespace spillway {
namespace {

using coordinator::LinkId;

constexpr std::chrono::seconds kCallbackBound{1};
constexpr std::chrono::seconds kSayAwayEvery{60};

// What `spillway run` ends with when the coordinator ends the job.
int code_of(const coordinator::JobOver& over)
{
  // Who left by plan has outlived whoever died before.
  if (over.reason == EndReason::kReleased) return 0;
  if (over.exit.signal != 0) return 128 + over.exit.signal;
  if (over.exit.exit_code != 0) return over.exit.exit_code;
  switch (over.reason)
  {
    case EndReason::kFinished:
      return 0;
    case EndReason::kTooFewMembers:
      return to_int(ExitCode::kBelowMinimum);
    default:
      return to_int(ExitCode::kRefused);
  }
}

}  // namespace

CoordinatedJob::CoordinatedJob(CoordinatedParts parts, Supervisor& supervisor)
    : parts_(std::move(parts)), supervisor_(supervisor)
{
  session_ = std::make_unique<coordinator::NodeSession>(parts_.hello, callbacks());
}

absl::StatusOr<std::unique_ptr<CoordinatedJob>> CoordinatedJob::open(CoordinatedParts parts,
                                                                     Supervisor& supervisor)
{
  std::unique_ptr<CoordinatedJob> job(new CoordinatedJob(std::move(parts), supervisor));
  SPILLWAY_ASSIGN_OR_RETURN(job->relay_,
                            coordinator::AgentRelay::listen(job->agent_socket(), *job->session_));
  return job;
}

absl::Status CoordinatedJob::connect(const coordinator::AgentClientOptions& options,
                                     const Clock& clock)
{
  SPILLWAY_ASSIGN_OR_RETURN(client_, coordinator::AgentClient::connect(options, *session_, clock));
  return absl::OkStatus();
}

coordinator::NodeCallbacks CoordinatedJob::callbacks()
{
  coordinator::NodeCallbacks out;
  out.on_connection = [this](bool up, const absl::Status& why) { on_connection(up, why); };
  out.on_rendezvous = [this](const coordinator::Rendezvous& round) { on_round(round); };
  out.on_worker_registered = [this](LinkId link, const coordinator::WorkerHello& hello) {
    const pid_t child = child_that_started(static_cast<pid_t>(hello.pid), getpid());
    {
      const std::lock_guard lock(mutex_);
      pids_[link] = {hello.pid, child};
    }
    add_about(link, WorkerRegistered{0, static_cast<pid_t>(hello.pid)});
  };
  out.on_worker_disconnected = [this](LinkId link, WorkerId) {
    if (is_newest(link)) add_about(link, WorkerUnlinked());
  };
  out.on_worker_first_applied = [this](LinkId link, WorkerId) { add_about(link, WorkerApplied()); };
  out.on_worker_released = [this](LinkId link, WorkerId, EndReason reason) {
    add_about(link, WorkerReleased{0, reason == EndReason::kReleased});
  };
  out.on_worker_refused = [this](LinkId link, const absl::Status& why) {
    add_about(link, WorkerRefused{0, why});
  };
  out.on_evict = [this](LinkId link, WorkerId, std::int64_t, const std::string& reason) {
    add_about(link, EvictionOrdered{0, reason});
  };
  out.on_job_over = [this](const coordinator::JobOver& over) { on_job_over(over); };
  return out;
}

void CoordinatedJob::add(JobEvent event)
{
  {
    const std::lock_guard lock(mutex_);
    events_.push_back(std::move(event));
  }
  supervisor_.wake();
}

// A worker that has linked itself anew is not lost with its older link.
bool CoordinatedJob::is_newest(LinkId link)
{
  const std::lock_guard lock(mutex_);
  const auto at = pids_.find(link);
  return at != pids_.end() && std::none_of(std::next(at), pids_.end(), [&](const auto& later) {
           return later.second.child == at->second.child;
         });
}

void CoordinatedJob::add_about(LinkId link, JobEvent event)
{
  pid_t pid = 0;
  {
    const std::lock_guard lock(mutex_);
    const auto found = pids_.find(link);
    if (found == pids_.end()) return;
    pid = found->second.child;
  }
  std::visit(
      [pid](auto& about) {
        if constexpr (requires { about.pid; }) about.pid = pid;
      },
      event);
  add(std::move(event));
}

void CoordinatedJob::on_connection(bool up, const absl::Status& why)
{
  const std::string& job = parts_.hello.job;
  {
    const std::lock_guard lock(mutex_);
    const bool away = !up && why.code() == absl::StatusCode::kUnavailable && patience_.clock;
    if (!away)
      away_since_ = kForever;
    else if (away_since_ == kForever)
      away_since_ = patience_.clock->now();
  }
  if (up)
  {
    log_info("job ", job, ": node ", session_->node().value(),
             was_up_ ? " has its coordinator again" : " is connected to its coordinator");
    was_up_ = true;
  }
  else if (why.code() == absl::StatusCode::kUnavailable)
    log_warning("job ", job, ": the coordinator is away (", why.message(),
                "); workers train on for at most --lease, changes wait, and the agent calls again");
  else
    add(NodeRefused{why});
}

void CoordinatedJob::on_round(const coordinator::Rendezvous& round)
{
  RoundAnnounced out;
  out.round = round.round;
  for (const auto& node : round.nodes)
  {
    if (node.node == session_->node()) out.own_index = static_cast<int>(out.nodes.size());
    out.nodes.push_back(
        {node.address, static_cast<int>(node.master_port), static_cast<int>(node.slots)});
  }
  add(std::move(out));
}

void CoordinatedJob::on_job_over(const coordinator::JobOver& over)
{
  JobOverHeard heard;
  heard.done = over.reason == EndReason::kFinished;
  heard.exit_code = code_of(over);
  // Nobody's exit is named: if a worker of this node failed, that is what ended it here.
  heard.use_worker_code =
      over.reason == EndReason::kStopped && over.exit.signal == 0 && over.exit.exit_code == 0;
  heard.why =
      absl::StrCat(end_reason_name(over.reason), over.detail.empty() ? "" : ": ", over.detail,
                   over.exit.last_words.empty() ? "" : "; last words: ", over.exit.last_words);
  add(std::move(heard));
}

void CoordinatedJob::step_aside_if_unwanted()
{
  if (parts_.carried == nullptr || !parts_.carried->unwanted()) return;
  const std::vector<std::string> addresses = parts_.carried->addresses();
  parts_.carried = nullptr;
  log_warning(
      "job ", parts_.hello.job, ": the coordinator in this process has ended, ", addresses.front(),
      " is free for the one that has the record of the job: start it ",
      "again with its --store. If that is lost, start `spillway coordinator` there and ",
      "see `spillway explain`; if those agents are left over from an earlier run, end them");
}

void CoordinatedJob::watch_absence()
{
  MonotonicTime since;
  {
    const std::lock_guard lock(mutex_);
    since = away_since_;
  }
  if (since == kForever)
  {
    said_away_at_ = kForever;
    return;
  }
  const MonotonicTime now = patience_.clock->now();
  const auto seconds = [](Duration span) {
    return std::chrono::duration_cast<std::chrono::seconds>(span).count();
  };
  const Duration limit = patience_.lease + patience_.join_timeout;
  const std::string how_long =
      absl::StrCat("job ", parts_.hello.job, ": the coordinator at ", patience_.address,
                   " has been away for ", seconds(now - since), " s");
  if (now - since >= limit)
  {
    {
      const std::lock_guard lock(mutex_);
      away_since_ = kForever;
    }
    return add(JobOverHeard{false, to_int(ExitCode::kUnreachable), false,
                            absl::StrCat(how_long,
                                         ", which is longer than --lease and "
                                         "--join-timeout together; it was called again "
                                         "and again")});
  }
  if (now - since < patience_.lease) return;
  if (said_away_at_ != kForever && now < deadline_after(said_away_at_, kSayAwayEvery)) return;
  said_away_at_ = now;
  log_warning(how_long,
              "; --lease is over and workers hold their state and wait; this node ends in ",
              seconds(since + limit - now), " s, if nobody starts it again with its --store");
}

// A worker that was refused, or has only just registered, may be gone before its callback ran: its
// end must not overtake what was heard of it.
std::vector<JobEvent> CoordinatedJob::take()
{
  step_aside_if_unwanted();
  if (patience_.clock != nullptr) watch_absence();
  session_->wait_for_callbacks(kCallbackBound);
  const std::lock_guard lock(mutex_);
  return std::exchange(events_, {});
}

std::int64_t CoordinatedJob::said_by(pid_t child)
{
  const std::lock_guard lock(mutex_);
  // The newest link: a worker may have had several.
  for (auto at = pids_.rbegin(); at != pids_.rend(); ++at)
    if (at->second.child == child) return at->second.said;
  return 0;
}

void CoordinatedJob::report_exited(pid_t pid, const ExitReason& reason,
                                   const std::string& last_words)
{
  const std::int64_t said = said_by(pid);
  if (said == 0) return;
  const bool signaled = reason.how == ExitReason::How::kSignaled;
  session_->report_exited(said,
                          {signaled ? 0 : reason.number, signaled ? reason.number : 0, last_words});
  const std::lock_guard lock(mutex_);
  std::erase_if(pids_, [pid](const auto& entry) { return entry.second.child == pid; });
}

void CoordinatedJob::report_silent(pid_t pid, const std::string& why)
{
  if (const std::int64_t said = said_by(pid); said != 0) session_->report_silent(said, why);
}

bool CoordinatedJob::request_leave(pid_t pid)
{
  const std::int64_t said = said_by(pid);
  if (said != 0) session_->request_leave(said, true);
  return said != 0;
}

void CoordinatedJob::request_restart(std::uint64_t failed_round, const std::string& why)
{
  session_->request_restart(failed_round, why);
}

void CoordinatedJob::farewell(bool fatal, int exit_code, const std::string& why)
{
  coordinator::NodeFarewell words;
  words.fatal = fatal;
  words.reason = why;
  words.exit.exit_code = exit_code;
  session_->farewell(words);
}

int CoordinatedJob::nodes_to_wait_for()
{
  if (parts_.carried == nullptr) return 0;
  return parts_.carried->other_nodes(parts_.hello.job, session_->node());
}

}  // namespace spillway
