// SPDX-License-Identifier: Apache-2.0
#include "spillway/coordinator/membership.h"

#include <algorithm>

#include "membership_impl.h"
#include "spillway/base/check.h"

namespace spillway {

MembershipCore::Impl::Impl(MembershipConfig config, std::optional<JobRecord> record,
                           Lineage lineage, MonotonicTime now, ProtocolRules rules,
                           BranchObserver* observer)
    : config_(config), rules_(rules), observer_(observer), now_(now)
{
  SPILLWAY_CHECK(config.min_members >= 1 && config.min_members <= config.max_members,
                 "members between ", config.min_members, " and ", config.max_members);
  if (record)
    record_ = *std::move(record);
  else
    record_.lineage = lineage;
  reserved_workers_ = record_.next_worker;
  for (WorkerId id : record_.absent) expect(id);
  expect_members();
}

std::vector<MembershipAction> MembershipCore::Impl::step(const MembershipEvent& event,
                                                         MonotonicTime now)
{
  now_ = std::max(now_, now);
  const bool was_running = record_.ended == EndReason::kRunning;
  std::visit([this](const auto& e) { on(e); }, event);
  advance();
  flush_touched();
  if (was_running && record_.ended != EndReason::kRunning)
    emit(JobEnded{record_.ended, record_.end_detail});
  std::vector<MembershipAction> actions;
  actions.swap(actions_);
  return actions;
}

void MembershipCore::Impl::on(const WorkerGreeted& event)
{
  if (fence(event)) return;
  const WorkerId id = accept(event);
  const Worker* known = find(id);
  const bool absent =
      std::binary_search(record_.absent.begin(), record_.absent.end(), event.hello.worker);
  const bool was_forgotten =
      event.hello.worker && (known == nullptr || known->dead || known->silent ||
                             (absent && !event.hello.status.wants_to_leave));
  Worker& worker = put(id);
  worker.was_forgotten = worker.was_forgotten || was_forgotten;
  worker.info = event.hello.info;
  worker.info.worker = id;
  worker.connected = true;
  worker.dead = false;
  worker.released = std::binary_search(record_.released.begin(), record_.released.end(), id);
  if (rules_.announcements_repeat)
  {
    worker.sent_abort = worker.sent_epoch = worker.sent_pending = Number();
    worker.sent_release = false;
  }
  emit(Accept{event.token, id, record_.lineage});
  // A new worker counts from its first status on: only then is it certain that it knows its id. A
  // member that nobody is, because the Accept died with this coordinator, would be waited for.
  if (event.hello.worker)
    take_status(worker, event.hello.status);
  else
    classify(worker);
}

void MembershipCore::Impl::on(const StatusReported& event)
{
  Worker* worker = find(event.worker);
  if (worker == nullptr || !worker->connected || event.status.lineage != record_.lineage)
  {
    branch("status.ignored");
    return;
  }
  take_status(*worker, event.status);
}

void MembershipCore::Impl::on(const WorkerDisconnected& event)
{
  fenced_.erase(event.worker);
  Worker* worker = find(event.worker);
  if (worker == nullptr || !worker->connected) return;
  worker->connected = false;
  worker->has_status = false;
  if (!worker->silent && !worker->dead)
  {
    worker->quiet_since = now_;
    set_timer(*worker, deadline_after(now_, config_.silence_timeout));
  }
  classify(*worker);
  forget_if_gone(event.worker);
}

void MembershipCore::Impl::on(const WorkerSilent& event)
{
  Worker* worker = find(event.worker);
  if (worker != nullptr) silence(*worker, event.reason);
}

void MembershipCore::Impl::on(const WorkerExited& event)
{
  Worker* worker = find(event.worker);
  if (worker == nullptr || worker->dead) return;
  branch("worker.exited");
  worker->connected = worker->has_status = false;
  worker->dead = true;
  set_timer(*worker, kForever);
  decide("P4", absl::StrCat("worker ", event.worker.value(), " is known dead: ", event.reason));
  silence(*worker, event.reason);
  forget_if_gone(event.worker);
}

void MembershipCore::Impl::on(const PlanRequested& event)
{
  plan_reasons_.push_back(event.reason);
  plan_is_urgent_ = plan_is_urgent_ || event.urgent;
}

void MembershipCore::Impl::on(const EndRequested& event)
{
  if (record_.ended == EndReason::kRunning) end(EndReason::kStopped, event.reason);
}

void MembershipCore::Impl::on(const AllNodesLeave&)
{
  all_nodes_leave_ = true;
}

void MembershipCore::Impl::on(const Tick&)
{
  watch_quiet_workers();
  watch_pairs();
  watch_progress();
  watch_computing();
}

void MembershipCore::Impl::persist()
{
  emit(Persist{std::make_shared<const JobRecord>(record_)});
}

void MembershipCore::Impl::decide(const char* rule, std::string text)
{
  Decision decision{rule, std::move(text)};
  decisions_.push_back({now_, decision});
  while (decisions_.size() > config_.kept_decisions) decisions_.pop_front();
  emit(std::move(decision));
}

void MembershipCore::Impl::branch(const char* name)
{
  if (observer_ != nullptr) observer_->branch(name);
}

MembershipCore::MembershipCore(MembershipConfig config, std::optional<JobRecord> record,
                               Lineage lineage, MonotonicTime now, ProtocolRules rules,
                               BranchObserver* observer)
    : impl_(std::make_unique<Impl>(config, std::move(record), lineage, now, rules, observer))
{
}
MembershipCore::~MembershipCore() = default;
MembershipCore::MembershipCore(MembershipCore&&) noexcept = default;
MembershipCore& MembershipCore::operator=(MembershipCore&&) noexcept = default;

std::vector<MembershipAction> MembershipCore::step(const MembershipEvent& event, MonotonicTime now)
{
  return impl_->step(event, now);
}
MonotonicTime MembershipCore::next_deadline() const
{
  return impl_->next_deadline();
}
MembershipExplanation MembershipCore::explain(MonotonicTime now) const
{
  return impl_->explain(now);
}
const JobRecord& MembershipCore::record() const
{
  return impl_->record();
}
std::vector<WorkerId> MembershipCore::leaving_altogether() const
{
  return impl_->leaving_altogether();
}

std::vector<const char*> membership_branch_names()
{
  return {
      "abort.begins",        "abort.resumes_stored", "active.planned",      "adopt.by_operator",
      "adopt.unanimous",     "first.forms",          "first.waits",         "form.above_maximum",
      "form.base_stands",    "form.below_minimum",   "form.forms",          "form.heirs_unheard",
      "form.holder_unheard", "form.leaves_out_pair", "form.newest_applied", "form.nobody_answers",
      "form.number_dead",    "form.number_unheard",  "form.restarts_empty", "form.rolls_forward",
      "form.state_lost",     "greet.fenced",         "greet.new",           "greet.refused",
      "greet.returns",       "job.below_minimum",    "job.finished",        "job.too_few",
      "list.whole_again",    "pair.probe",           "pair.reached",        "pair.remembered",
      "progress.evicts",     "progress.nobody",      "publish.join",        "publish.keeps_holder",
      "publish.leave",       "publish.plan",         "publish.replaces",    "publish.waits",
      "release.leaver",      "silent.lease",         "silent.timeout",      "silent.told",
      "status.ignored",      "worker.exited",
  };
}

}  // namespace spillway
