// SPDX-License-Identifier: Apache-2.0
#include "spillway/engine/member.h"

#include <algorithm>

#include "member_impl.h"
#include "spillway/base/check.h"

namespace spillway {
namespace {

constexpr std::size_t kMostDeferred = 1024;
constexpr std::size_t kMostEarly = 16;

// Whether two statuses differ in what the coordinator must hear at once. The step itself is not
// among it: nothing is sent per step.
bool worth_sending(const MemberStatus& a, const MemberStatus& b)
{
  return a.promised != b.promised || a.installed != b.installed || a.current != b.current ||
         a.switched_from != b.switched_from || a.applied.has_value() != b.applied.has_value() ||
         a.fault != b.fault || a.first_word != b.first_word || a.done != b.done ||
         a.left != b.left || a.wants_to_leave != b.wants_to_leave ||
         a.leave_is_urgent != b.leave_is_urgent || a.unreachable != b.unreachable ||
         a.wants_list != b.wants_list || a.last_step != b.last_step || a.lineage != b.lineage;
}

}  // namespace

MemberCore::Impl::Impl(MemberConfig config, ProtocolRules rules, BranchObserver* observer)
    : config_(config), rules_(rules), observer_(observer)
{
  SPILLWAY_CHECK(config_.range_count > 0, "a state is copied in at least one range");
  status_.lineage = config_.lineage;
  status_.last_step = config_.last_step;
}

std::vector<MemberAction> MemberCore::Impl::step(const MemberEvent& event, MonotonicTime now)
{
  actions_.clear();
  if (exited_) return {};
  std::visit([this](const auto& e) { on(e); }, event);
  while (applying_ == Applying::kNothing && !deferred_.empty() && !exited_)
  {
    branch("control.after_apply");
    const ControlMessage message = std::move(deferred_.front());
    deferred_.pop_front();
    on(ControlReceived{message});
  }
  if (!exited_) advance(now);
  if (!exited_) send_status_if_changed();
  return std::exchange(actions_, {});
}

void MemberCore::Impl::on(const ControlReceived& event)
{
  const EpochName name = std::visit([](const auto& m) { return m.name; }, event.message);
  if (status_.lineage && name.lineage != status_.lineage)
  {
    branch("control.other_lineage");
    decide("P11", "ignored a control message of another lineage");
    return;
  }
  if (applying_ != Applying::kNothing)
  {
    SPILLWAY_CHECK(deferred_.size() < kMostDeferred, self(), " was sent ", deferred_.size(),
                   " control messages during one apply");
    deferred_.push_back(event.message);
    return;
  }
  status_.lineage = name.lineage;
  status_.highest_seen = std::max(status_.highest_seen, name.job_epoch);
  std::visit([this](const auto& message) { control(message); }, event.message);
}

void MemberCore::Impl::on(const ConnectionUp&)
{
  connected_ = true;
  answer_again_ = true;
}

void MemberCore::Impl::on(const ConnectionDown&)
{
  connected_ = false;
}

void MemberCore::Impl::on(const LeaseExtended& event)
{
  lease_until_ = lease_until_ ? std::max(*lease_until_, event.until) : event.until;
}

void MemberCore::Impl::on(const LoopReady&)
{
  loop_ready_ = true;
  if (applying_ == Applying::kNothing) at_rest_ = true;
}

void MemberCore::Impl::on(const Prepared& event)
{
  if (event.number <= status_.current || !lists_.contains(event.number))
  {
    branch("prepare.too_late");
    return;
  }
  connected_groups_.insert(event.number);
}

void MemberCore::Impl::on(const PeersUnreachable& event)
{
  const bool asked = event.number == pending_ && pending_ > prepared_ && pending_ > status_.current;
  if (!asked || !rules_.failed_preparation_reports_pair) return;
  branch("prepare.unreachable");
  status_.unreachable = event.peers;
  if (!event.peers.empty())
    decide("P14", absl::StrCat("cannot prepare ", pending_.value(), ": no connection to member ",
                               event.peers.front().value()));
}

void MemberCore::Impl::on(const LinkLost& event)
{
  if (event.number > std::max(status_.current, status_.installed))
  {
    // Of a number that may become current: it is a fault of that one then, not before.
    if (early_faults_.size() < kMostEarly) early_faults_.try_emplace(event.number, event);
    return;
  }
  if (event.number != status_.current || !status_.current)
  {
    branch("fault.of_left_number");
    return;
  }
  report_fault(event.number, event.peer, event.reason);
}

void MemberCore::Impl::report_fault(Number number, WorkerId peer, const std::string& reason)
{
  if (status_.done || !members_->contains(config_.self) || !members_->contains(peer)) return;
  const Number named = voted_step_ && voted_step_ == begun_ ? vote_named_ : Number();
  const auto named_list = lists_.find(named);
  if (rules_.leaver_errors_are_no_faults && named > number && named_list != lists_.end() &&
      !named_list->second->contains(config_.self))
  {
    branch("fault.of_leaver");
    return;
  }
  if (stopped() || status_.fault) return;
  branch("fault.reported");
  decide("P3", absl::StrCat("link to member ", peer.value(), " in ", number.value(), " lost (",
                            reason, "): reported"));
  status_.fault = LinkFault{number, peer};
}

// What broke in a number before it became current.
void MemberCore::Impl::report_early_fault()
{
  early_faults_.erase(early_faults_.begin(), early_faults_.lower_bound(status_.current));
  const auto at = early_faults_.find(status_.current);
  if (at == early_faults_.end()) return;
  branch("fault.found_at_entry");
  const LinkLost lost = at->second;
  early_faults_.erase(at);
  report_fault(lost.number, lost.peer, lost.reason);
}

void MemberCore::Impl::on(const LeaveRequested& event)
{
  status_.wants_to_leave = true;
  status_.leave_is_urgent = status_.leave_is_urgent || event.urgent;
}

void MemberCore::Impl::on(const LastStepAgreed& event)
{
  if (!status_.last_step || event.step < status_.last_step) status_.last_step = event.step;
}

void MemberCore::Impl::on(const ProbeFinished& event)
{
  if (event.reachable) std::erase(status_.unreachable, event.peer);
  if (connected_)
    emit(SendProbeResult{
        {EpochName::one_site(status_.lineage, status_.current), event.peer, event.reachable}});
}

void MemberCore::Impl::send_status_if_changed()
{
  if (!connected_ || (!answer_again_ && !worth_sending(status_, sent_))) return;
  answer_again_ = false;
  sent_ = status_;
  emit(SendStatus{status_});
}

std::optional<StateName> MemberCore::Impl::serves() const
{
  if (applying_ != Applying::kNothing || !at_rest_) return std::nullopt;
  return status_.applied;
}

void MemberCore::Impl::branch(const char* name)
{
  if (observer_ != nullptr) observer_->branch(name);
}

void MemberCore::Impl::decide(const char* rule, std::string text)
{
  emit(MemberDecision{rule, absl::StrCat(self(), ": ", text)});
}

MemberCore::MemberCore(MemberConfig config, ProtocolRules rules, BranchObserver* observer)
    : impl_(std::make_unique<Impl>(config, rules, observer))
{
}
MemberCore::~MemberCore() = default;
MemberCore::MemberCore(MemberCore&&) noexcept = default;
MemberCore& MemberCore::operator=(MemberCore&&) noexcept = default;

std::vector<MemberAction> MemberCore::step(const MemberEvent& event, MonotonicTime now)
{
  return impl_->step(event, now);
}
const MemberStatus& MemberCore::status() const
{
  return impl_->status();
}
MemberListPtr MemberCore::members() const
{
  return impl_->members();
}
Number MemberCore::current() const
{
  return impl_->status().current;
}
bool MemberCore::stopped() const
{
  return impl_->stopped();
}
std::optional<StateName> MemberCore::serves() const
{
  return impl_->serves();
}
bool MemberCore::holds_for_lease(MonotonicTime now) const
{
  return impl_->holds_for_lease(now);
}

std::vector<const char*> member_branch_names()
{
  return {
      "abort.promised",
      "abort.repeated",
      "abort.too_old",
      "apply.failed",
      "apply.roll_forward",
      "apply.step",
      "base.early",
      "base.repeated",
      "base.too_old",
      "begin.copier",
      "begin.control_only",
      "begin.first",
      "begin.loop",
      "control.after_apply",
      "control.other_lineage",
      "copy.another_state",
      "copy.complete",
      "copy.first_range",
      "copy.keeps_ranges",
      "copy.not_wanted",
      "epoch.as_copier",
      "epoch.as_holder",
      "epoch.initial_state",
      "epoch.left_out",
      "epoch.roll_forward",
      "epoch.too_old",
      "exit.released",
      "fault.found_at_entry",
      "fault.of_leaver",
      "fault.of_left_number",
      "fault.reported",
      "job.last_word",
      "join.copies",
      "lease.holds",
      "list.unknown",
      "old_numbers.closed",
      "pending.kept_by_late_abort",
      "pending.leaves_me_out",
      "pending.prepares",
      "pending.too_old",
      "prepare.done",
      "prepare.too_late",
      "prepare.unreachable",
      "switch.leaves",
      "switch.no",
      "switch.yes",
      "vote.cast",
      "vote.names_pending",
      "vote.waits_for_copy",
  };
}

}  // namespace spillway
