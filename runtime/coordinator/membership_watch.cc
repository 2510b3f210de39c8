// SPDX-License-Identifier: Apache-2.0
// What only time decides: silence and death, probes of unreachable pairs, the progress deadline.
#include <algorithm>

#include "membership_impl.h"

namespace spillway {
namespace {

// A member that waits repeats its report each second; without one for this long nobody waits.
constexpr Duration kReportIsFresh = std::chrono::seconds(3);
constexpr int kProgressFactor = 10;

}  // namespace

MonotonicTime MembershipCore::Impl::next_deadline() const
{
  if (record_.ended != EndReason::kRunning) return kForever;
  MonotonicTime next = std::min(last_call_at_, progress_deadline());
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
    const WorkerId id = worker.info.worker;
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
void MembershipCore::Impl::remember_pairs_of_faults()
{
  each_worker([this](Worker& worker) {
    const auto& fault = worker.status.fault;
    if (!worker.answers(abort_) || !fault || worker.counted_fault == fault) return;
    const Worker* peer = find(fault->peer);
    if (peer == nullptr || !peer->answers(abort_)) return;
    worker.counted_fault = fault;
    remember_pair(worker.info.worker, fault->peer, "both answer, the link between them broke");
  });
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

// P13. Only members that wait report, so a job that goes on costs nothing here.
void MembershipCore::Impl::on(const ProgressReported& event)
{
  Worker* worker = find(event.worker);
  const ProgressReport& report = event.report;
  if (worker == nullptr || !worker->in_newest || report.number != record_.newest) return;
  if (report.phase == ProgressReport::Phase::kBusy)
    worker->busy_until = deadline_after(now_, report.busy_limit);
  if (report.phase != ProgressReport::Phase::kHandedIn) return;
  const bool stale = !progress_ || progress_->number != report.number ||
                     progress_->step < report.step ||
                     now_ - progress_->last_report > kReportIsFresh;
  if (stale)
    progress_ = Progress{.number = report.number,
                         .step = report.step,
                         .since = now_,
                         .last_report = now_,
                         .limit = config_.progress_floor};
  if (report.step < progress_->step) return;
  worker->handed_in = report.step;
  progress_->last_report = now_;
  progress_->limit = std::max(progress_->limit, kProgressFactor * report.p99_step);
}

MonotonicTime MembershipCore::Impl::progress_deadline() const
{
  return progress_ && !abort_ ? deadline_after(progress_->since, progress_->limit) : kForever;
}

void MembershipCore::Impl::watch_progress()
{
  if (now_ < progress_deadline()) return;
  const Progress progress = *std::exchange(progress_, std::nullopt);
  if (progress.number != record_.newest || now_ - progress.last_report > kReportIsFresh) return;
  each_worker([&](Worker& worker) {
    const bool waits = worker.handed_in >= progress.step;
    if (!worker.in_newest || worker.released || worker.silent || waits || now_ < worker.busy_until)
      return;
    branch("progress.evicts");
    const std::string why = absl::StrCat("has not handed in step ", progress.step.value(), " of ",
                                         progress.number.value(), " while others wait");
    emit(Evict{worker.info.worker, why});
    silence(worker, why);
  });
}

}  // namespace spillway
