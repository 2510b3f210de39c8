// SPDX-License-Identifier: Apache-2.0
// What the core decides, executed under the driver's lock: nothing here may block.
#include <algorithm>

#include "absl/strings/str_cat.h"
#include "engine_impl.h"
#include "spillway/base/check.h"
#include "spillway/base/log.h"

namespace spillway::engine {

std::optional<UserItem> EngineImpl::execute(const MemberAction& action)
{
  return std::visit([this](const auto& one) { return on(one); }, action);
}

std::optional<UserItem> EngineImpl::on(const SendStatus& action)
{
  services_.link->send(action.status, driver_.core().members());
  if (action.status.promised > action.status.current) fault("stopped.sent");
  return std::nullopt;
}

std::optional<UserItem> EngineImpl::on(const SendProbeResult& action)
{
  services_.link->send(action.result);
  return std::nullopt;
}

std::optional<UserItem> EngineImpl::on(const Prepare& action)
{
  const bool steps = driver_.core().current() && !driver_.core().stopped();
  links_->prepare(action.number, action.members, !steps);
  return std::nullopt;
}

std::optional<UserItem> EngineImpl::on(const DropPrepared& action)
{
  links_->drop(action.number);
  pulse_->nudge();
  return std::nullopt;
}

// Ranges, and an apply that the core counts on, are executed whatever comes.
std::optional<UserItem> EngineImpl::on(const StopNumber& action)
{
  links_->stop(action.number);
  if (step_number_.load(std::memory_order_relaxed) == action.number.value())
    step_aborted_.store(true, std::memory_order_relaxed);
  ask_again_ = ask_again_ || (in_begin_ && ask_taken_);
  driver_.drop_queued([&](const MemberAction& queued) {
    const auto* begin = std::get_if<BeginStep>(&queued);
    const auto* vote = std::get_if<CastVote>(&queued);
    return (begin != nullptr && begin->name.job_epoch == action.number) ||
           (vote != nullptr && vote->name.job_epoch == action.number);
  });
  const std::lock_guard lock(stats_mutex_);
  stats_.last_abort = clock_.now();
  return std::nullopt;
}

void EngineImpl::became_current(Number number, StateName base, const MemberList& members)
{
  ++changes_;
  log_.epoch(number, base, members);
  log_info("number ", number.value(), " begins with ", members.size(), " members from state ",
           to_string(base));
  const std::lock_guard lock(stats_mutex_);
  ++stats_.epochs;
}

std::optional<UserItem> EngineImpl::on(const EnterEpoch& action)
{
  links_->enter(action.number, action.members);
  became_current(action.number, action.base, *action.members);
  pulse_->nudge();
  return std::nullopt;
}

std::optional<UserItem> EngineImpl::on(const SwitchTo& action)
{
  fault("switch.before", action.base.step);
  links_->leave(action.switched_from);
  became_current(action.number, action.base, *action.members);
  const std::shared_ptr<NumberLinks> links = links_->get(action.number);
  links->set_announcement({.switched_from = action.switched_from.value(),
                           .base_number = action.base.number.value(),
                           .base_step = action.base.step.value(),
                           .last_step = action.last_step.value()});
  pipeline_->open(links);
  pulse_->nudge();
  return std::nullopt;
}

std::optional<UserItem> EngineImpl::on(const JoinNumber& action)
{
  links_->retire_below(action.number);
  became_current(action.number, action.base, *action.members);
  pulse_->nudge();
  return std::nullopt;
}

std::optional<UserItem> EngineImpl::on(const CloseNumber& action)
{
  links_->close(action.number, action.keep);
  pulse_->nudge();
  return std::nullopt;
}

std::optional<UserItem> EngineImpl::on(const LeaveNumber& action)
{
  links_->leave(action.number);
  pulse_->nudge();
  return std::nullopt;
}

std::optional<UserItem> EngineImpl::on(const StandAside& action)
{
  ++changes_;
  links_->retire_below(action.epoch);
  links_->listen_to_all();
  pulse_->nudge();
  return std::nullopt;
}

std::optional<UserItem> EngineImpl::on(const CopyBase& action)
{
  Copier::Job job{.lineage = lineage_,
                  .number = action.number,
                  .base = action.base,
                  .donors = {},
                  .have = action.have};
  // All who switched hold the base, whoever was the first to name it.
  std::vector<WorkerId> donors = action.donors;
  if (const std::shared_ptr<NumberLinks> links = links_->get(action.number))
    if (const std::vector<WorkerId> holders = links->holders(); !holders.empty()) donors = holders;
  // Several copiers begin at different donors.
  std::rotate(donors.begin(),
              donors.begin() + static_cast<std::ptrdiff_t>(self_.value() % donors.size()),
              donors.end());
  const MemberListPtr members = driver_.core().members();
  for (WorkerId donor : donors)
    if (const MemberInfo* info = members->find(donor))
      job.donors.push_back({.worker = donor, .address = info->address});
  copier_->start(std::move(job));
  return std::nullopt;
}

std::optional<UserItem> EngineImpl::on(const StopCopying&)
{
  copier_->stop();
  return std::nullopt;
}

std::optional<UserItem> EngineImpl::on(const InstallRange& action)
{
  return UserItem{action, copier_->take(action.range)};
}

std::optional<UserItem> EngineImpl::on(const ProbePeer& action)
{
  pulse_->errand([this, lineage = action.lineage, peer = action.peer] {
    const absl::Status status =
        transport_->probe(lineage, {.worker = peer.worker, .address = peer.address},
                          {.deadline = deadline_after(clock_.now(), std::chrono::seconds(3))});
    driver_.feed(ProbeFinished{peer.worker, status.ok()});
  });
  return std::nullopt;
}

std::optional<UserItem> EngineImpl::on(const MemberDecision& action)
{
  log_debug(action.rule, ": ", action.text);
  return std::nullopt;
}

std::optional<UserItem> EngineImpl::on(const RuleBroken& action)
{
  SPILLWAY_CHECK(false, action.text);
  return std::nullopt;
}

std::optional<UserItem> EngineImpl::on(const BeginStep& action)
{
  if (!action.contributes_zeros) ask_taken_ = true;
  return UserItem{action, {}};
}

std::optional<UserItem> EngineImpl::on(const Exit& action)
{
  ++changes_;
  released_.store(true, std::memory_order_relaxed);
  // Others may be gone already: no call is waited for any more.
  links_->stop_all();
  return UserItem{action, {}};
}

// From threads of the transport and of the links, without the lock.
void EngineImpl::peer_lost(Number number, WorkerId peer, const std::string& reason)
{
  links_->peer_gone(number, peer);
  if (step_number_.load(std::memory_order_relaxed) == number.value())
    step_aborted_.store(true, std::memory_order_relaxed);
  driver_.feed(LinkLost{number, peer, reason});
}

}  // namespace spillway::engine
