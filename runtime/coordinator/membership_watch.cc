// SPDX-License-Identifier: Apache-2.0
// What only time decides: silence and death, probes of unreachable pairs, the progress deadline.
#include <algorithm>
#include <utility>

#include "membership_impl.h"

namespace spillway {
namespace {

// Reports are repeated each second; what is not said again for this long is over.
constexpr Duration kReportIsFresh = std::chrono::seconds(3);
constexpr int kProgressFactor = 10;
constexpr int kNobodyFactor = 20;
constexpr unsigned kMostDoublings = 6;

bool is_fresh(MonotonicTime report, MonotonicTime now)
{
  return now - report <= kReportIsFresh;
}

}  // namespace

MonotonicTime MembershipCore::Impl::next_deadline() const
{
  if (record_.ended != EndReason::kRunning) return kForever;
  MonotonicTime next = std::min({last_call_at_, progress_deadline(), computing_deadline()});
  if (!timers_.empty()) next = std::min(next, timers_.begin()->first);
  for (const auto& [pair, probe] : pairs_) next = std::min(next, probe.next);
  if (too_few_since_ != kForever)
    next = std::min(next, deadline_after(too_few_since_, config_.join_timeout));
  return next;
}

// Quiet for the timeout: silent. Quiet for the lease: known dead (P4).
void MembershipCore::Impl::watch_quiet_workers()
{
  while (!timers_.empty() && timers_.begin()->first <= now_)
  {
    Worker& worker = *find(timers_.begin()->second);
    const WorkerId id = worker.id;
    set_timer(worker, kForever);
    if (!worker.silent)
    {
      branch("silent.timeout");
      silence(worker, "no connection within the silence timeout");
      continue;
    }
    branch("silent.lease");
    worker.dead = true;
    decide("P4", absl::StrCat("worker ", id.value(), " is known dead: silent beyond the lease"));
    classify(worker);
  }
}

// P14: both are known to be alive, but not to each other.
void MembershipCore::Impl::remember_pair(WorkerId a, WorkerId b, const std::string& how)
{
  if (a == b) return;
  const WorkerPair pair = std::minmax(a, b);
  const Probe probe{.next = deadline_after(now_, config_.probe_interval),
                    .interval = config_.probe_interval,
                    .reached = {}};
  if (!pairs_.try_emplace(pair, probe).second) return;
  branch("pair.remembered");
  decide("P14", absl::StrCat("workers ", pair.first.value(), " and ", pair.second.value(),
                             " cannot reach each other: ", how));
}

// Workers that both answer although one reports its link to the other as lost. A report counts
// once: when probes have ended the pair, the old report must not bring it back.
void MembershipCore::Impl::remember_pairs_of_faults(const std::vector<Worker*>& answering)
{
  for (Worker* worker : answering)
  {
    const auto& fault = worker->status.fault;
    if (worker->counted_fault == fault) continue;
    const Worker* peer = find(fault->peer);
    if (peer == nullptr || !peer->answers(abort_)) continue;
    worker->counted_fault = fault;
    remember_pair(worker->id, fault->peer, "both answer, the link between them broke");
  }
}

void MembershipCore::Impl::watch_pairs()
{
  for (auto& [pair, probe] : pairs_)
  {
    if (now_ < probe.next) continue;
    probe.interval = std::min(2 * probe.interval, config_.probe_interval_max);
    probe.next = deadline_after(now_, probe.interval);
    probe.reached.clear();
    const Worker* a = find(pair.first);
    const Worker* b = find(pair.second);
    if (a == nullptr || b == nullptr || !a->connected || !b->connected) continue;
    branch("pair.probe");
    const EpochName name = EpochName::one_site(record_.lineage, record_.newest);
    emit(Send{{pair.first}, ProbeRequest{name, b->info}});
    emit(Send{{pair.second}, ProbeRequest{name, a->info}});
  }
}

void MembershipCore::Impl::on(const ProbeReported& event)
{
  const auto at = pairs_.find(std::minmax(event.worker, event.result.peer));
  if (at == pairs_.end() || !event.result.reachable) return;
  at->second.reached.insert(event.worker);
  if (at->second.reached.size() < 2) return;
  branch("pair.reached");
  decide("P14", absl::StrCat("workers ", at->first.first.value(), " and ", at->first.second.value(),
                             " reach each other again"));
  pairs_.erase(at);
}

// P13. Only members that wait, compute long or are busy report, so a job that goes on costs nothing
// here. What is said of the loop holds whatever number its last step was of.
void MembershipCore::Impl::on(const ProgressReported& event)
{
  Worker* worker = find(event.worker);
  const ProgressReport& report = event.report;
  if (worker == nullptr || report.name.lineage != record_.lineage) return;
  switch (report.phase)
  {
    case ProgressReport::Phase::kBusy:
      take_back(*worker);
      worker->busy_until = deadline_after(now_, std::min(kReportIsFresh, report.busy_limit));
      return;
    case ProgressReport::Phase::kComputing:
      take_back(*worker);
      if (worker->in_newest) take_computing(report);
      return;
    case ProgressReport::Phase::kHandedIn:
    case ProgressReport::Phase::kHandedInZeros:
      if (worker->in_newest && report.name.job_epoch == record_.newest)
        take_waiting(*worker, report);
      return;
  }
}

void MembershipCore::Impl::take_computing(const ProgressReport& report)
{
  if (!computing_ || computing_->step < report.step || !is_fresh(computing_->last_report, now_))
    computing_ = Computing{.step = report.step,
                           .since = now_ - report.lasts,
                           .last_report = now_,
                           .limit = config_.nobody_floor,
                           .told = false};
  computing_->last_report = now_;
  computing_->limit = std::max(computing_->limit, kNobodyFactor * report.p99_step);
}

bool MembershipCore::Impl::nobody_hands_in(MonotonicTime now) const
{
  const bool somebody_waits =
      progress_ && progress_->loops > 0 && is_fresh(progress_->last_report, now);
  return computing_ && is_fresh(computing_->last_report, now) && !somebody_waits && !abort_;
}

MonotonicTime MembershipCore::Impl::computing_deadline() const
{
  if (!computing_ || computing_->told) return kForever;
  return deadline_after(computing_->since, computing_->limit);
}

// P13: a loop may be slow or all may hang; no member is the one to blame.
void MembershipCore::Impl::watch_computing()
{
  if (now_ < computing_deadline()) return;
  computing_->told = true;
  if (!nobody_hands_in(now_)) return computing_.reset();
  branch("progress.nobody");
  decide("P13", nobody_in_words(now_));
}

std::string MembershipCore::Impl::nobody_in_words(MonotonicTime now) const
{
  const auto seconds = [](Duration span) {
    return std::chrono::duration_cast<std::chrono::seconds>(span).count();
  };
  return absl::StrCat("no member has handed in anything for ", seconds(now - computing_->since),
                      " s, since it began or ended step ", computing_->step.value(),
                      "; nobody is evicted for it, since no other member waits: if the program "
                      "should be faster than that, look at what its workers do");
}

void MembershipCore::Impl::take_waiting(Worker& worker, const ProgressReport& report)
{
  const Number number = report.name.job_epoch;
  const bool stale = !progress_ || progress_->number != number || progress_->step < report.step ||
                     !is_fresh(progress_->last_report, now_);
  if (stale)
    progress_ = Progress{.number = number,
                         .step = report.step,
                         .round = ++progress_rounds_,
                         .since = now_,
                         .last_hand_in = now_,
                         .waiting = 0,
                         .loops = 0,
                         .last_report = now_,
                         .limit = config_.progress_floor};
  if (report.step < progress_->step) return;
  if (std::exchange(worker.waits_in, progress_->round) != progress_->round)
  {
    ++progress_->waiting;
    progress_->last_hand_in = now_;
    const bool loop = report.phase == ProgressReport::Phase::kHandedIn;
    if (loop && progress_->loops++ == 0) progress_->since = now_;
  }
  progress_->last_report = now_;
  progress_->limit = std::max(progress_->limit, kProgressFactor * report.p99_step);
}

// Who waited in a call between two steps goes on: the others are waited for anew.
void MembershipCore::Impl::take_back(Worker& worker)
{
  if (!progress_ || worker.waits_in != progress_->round) return;
  worker.waits_in = 0;
  progress_->since = now_;
  --progress_->loops;
  if (--progress_->waiting == 0) progress_.reset();
}

bool MembershipCore::Impl::all_wait() const
{
  return progress_->waiting == record_.numbers.at(progress_->number).members->size();
}

MonotonicTime MembershipCore::Impl::progress_deadline() const
{
  if (!progress_ || abort_ || progress_->number != record_.newest) return kForever;
  // Who joins waits for no loop: the others may do something long between two steps, all of them.
  const bool loops = progress_->loops > 0;
  if (!all_wait())
    return deadline_after(
        progress_->since,
        loops ? progress_->limit : std::max(progress_->limit, config_.joiners_floor));
  // A step may really take that long, which nobody has seen yet: each time it gets twice as long.
  const unsigned tried = progress_->step == stalled_step_ ? std::min(stalls_, kMostDoublings) : 0;
  return deadline_after(progress_->last_hand_in, progress_->limit * (1 << tried));
}

void MembershipCore::Impl::watch_progress()
{
  if (now_ < progress_deadline()) return;
  if (all_wait() && is_fresh(progress_->last_report, now_)) return give_up_stalled_step();
  const Progress progress = *std::exchange(progress_, std::nullopt);
  if (is_fresh(progress.last_report, now_)) evict_who_lets_others_wait(progress);
}

void MembershipCore::Impl::evict_who_lets_others_wait(const Progress& progress)
{
  each_worker([&](Worker& worker) {
    const bool waits = worker.waits_in == progress.round;
    if (!worker.in_newest || worker.released || worker.silent || waits) return;
    if (worker.busy_until && now_ < deadline_after(*worker.busy_until, progress.limit)) return;
    if (copies_base(worker)) return;  // which has a limit of its own
    branch("progress.evicts");
    const std::string why = absl::StrCat("has not handed in step ", progress.step.value(), " of ",
                                         progress.number.value(), " while others wait");
    emit(Evict{worker.id, why});
    silence(worker, why);
  });
}

bool MembershipCore::Impl::copies_base(const Worker& worker) const
{
  return worker.connected && worker.has_status && worker.status.current == record_.newest &&
         worker.status.installed != record_.newest;
}

// Everybody has handed in and the step does not complete: some link does not move, and nobody can
// tell which. The next epoch makes all links anew, and who cannot connect then is named (P14).
void MembershipCore::Impl::give_up_stalled_step()
{
  bool copies = false;
  each_worker([&](const Worker& worker) {
    copies = copies || (worker.in_newest && worker.status.installed != record_.newest);
  });
  progress_->last_hand_in = now_;
  if (copies) return;  // which has a limit of its own
  stalls_ = progress_->step == stalled_step_ ? stalls_ + 1 : 1;
  stalled_step_ = progress_->step;
  stall_ = absl::StrCat("step ", progress_->step.value(), " of ", progress_->number.value(),
                        " does not complete although all members have handed it in");
}

}  // namespace spillway
