// SPDX-License-Identifier: Apache-2.0
// The changes of the member list: the first epoch, an epoch after a fault, a planned number,
// release, the end.
#include <algorithm>

#include "absl/strings/str_join.h"
#include "membership_impl.h"
#include "spillway/base/check.h"
#include "worker_sets.h"

namespace spillway {
namespace {

constexpr std::size_t kRecentLists = 4;

std::string names(const std::vector<WorkerId>& workers)
{
  constexpr std::size_t kMostNamed = 8;
  std::string text;
  for (std::size_t i = 0; i < std::min(workers.size(), kMostNamed); ++i)
    absl::StrAppend(&text, i > 0 ? ", " : "", workers[i].value());
  if (workers.size() > kMostNamed)
    absl::StrAppend(&text, " and ", workers.size() - kMostNamed, " more");
  return text;
}

}  // namespace

// Takes every step that has become possible. Called after every event.
void MembershipCore::Impl::advance()
{
  if (record_.ended != EndReason::kRunning) return;
  waiting_for_.clear();
  waits_.clear();
  if (!record_.newest)
  {
    if (!try_adopt()) try_first_epoch();
  }
  else
  {
    try_abort();
    if (abort_) try_form();
    while (!abort_ && try_release())
    {
    }
    if (!abort_ && record_.ended == EndReason::kRunning && !try_end_with_all_leaving())
      try_publish();
  }
  watch_size();
}

// The last holder would stay until somebody comes to take its state over.
bool MembershipCore::Impl::try_end_with_all_leaving()
{
  const bool nobody_comes = std::exchange(all_nodes_leave_, false) || !config_.others_may_come;
  if (!nobody_comes || leaving_altogether().empty()) return false;
  end(EndReason::kReleased, "everybody was asked to leave, and nobody else may come");
  return true;
}

std::vector<WorkerId> MembershipCore::Impl::leaving_altogether() const
{
  if (available_count_ > 0) return {};
  return {leavers_.begin(), leavers_.end()};
}

// P15: the lowest worker id holds the base of the first epoch.
bool MembershipCore::Impl::try_first_epoch()
{
  if (!fenced_.empty()) return false;  // try_adopt() has said what is waited for
  if (available_count_ < config_.min_members)
  {
    last_call_at_ = kForever;
    waits_ = absl::StrCat("the first epoch needs ", config_.min_members, " workers, ",
                          available_count_, " are here");
    return false;
  }
  if (last_call_at_ == kForever) last_call_at_ = deadline_after(now_, config_.last_call);
  if (available_count_ < config_.max_members && now_ < last_call_at_)
  {
    branch("first.waits");
    waits_ = absl::StrCat("last call for up to ", config_.max_members, " workers, ",
                          available_count_, " are here");
    return false;
  }
  branch("first.forms");
  last_call_at_ = kForever;
  const Number number = record_.last_number.next();
  Formation formation{.base = {number, StepId(0)},
                      .initial = true,
                      .reason = "the initial state of the lowest worker"};
  for (WorkerId worker : joiners_)
    if (formation.members.size() < config_.max_members) formation.members.push_back(worker);
  formation.holders = {formation.members.front()};
  formation.copiers.assign(formation.members.begin() + 1, formation.members.end());
  form(number, std::move(formation));
  return true;
}

bool MembershipCore::Impl::try_abort()
{
  if (abort_) return false;
  if (record_.open_abort && rules_.unanswered_promise_resumes_abort)
  {
    branch("abort.resumes_stored");
    begin_abort(
        absl::StrCat("abort ", record_.open_abort.value(), " of an earlier life has no epoch yet"));
    return true;
  }
  if (!alarms_.empty())
  {
    const Worker& worker = *find(*alarms_.begin());
    const std::string who = absl::StrCat("worker ", worker.id.value());
    const auto& fault = worker.status.fault;
    begin_abort(worker.dead     ? who + " is dead"
                : worker.silent ? who + " is silent"
                : fault ? absl::StrCat(who, " lost its link to worker ", fault->peer.value(),
                                       " in ", fault->number.value())
                        : absl::StrCat(who, " promised ", worker.status.promised.value(),
                                       ", which no epoch answers"));
    return true;
  }
  if (!stall_.empty())
  {
    begin_abort(stall_);
    return true;
  }
  if (record_.numbers.at(record_.newest).members->size() < config_.min_members)
  {
    branch("job.below_minimum");
    begin_abort(absl::StrCat("fewer than ", config_.min_members, " members"));
    return true;
  }
  return false;
}

// P3: above every number ever persisted, and persisted before it is sent.
void MembershipCore::Impl::begin_abort(const std::string& reason)
{
  branch("abort.begins");
  abort_ = record_.last_number.next();
  decide("P3", absl::StrCat("abort ", abort_.value(), ": ", reason));
  stall_.clear();
  if (rules_.abort_number_is_persisted)
  {
    record_.last_number = record_.open_abort = abort_;
    persist();
  }
  classify_all();
}

FormationVerdict MembershipCore::Impl::judge_answers()
{
  FormationInput input{
      .record = &record_,
      .answers = {},
      .answers_now =
          [this](WorkerId id) {
            const Worker* worker = find(id);
            return worker != nullptr && worker->answers(abort_);
          },
      .is_dead =
          [this](WorkerId id) {
            const Worker* worker = find(id);
            return worker != nullptr && worker->dead;
          },
      .unreachable_pairs = {},
      .max_members = config_.max_members,
      .rules = rules_,
      .observer = observer_,
  };
  input.answers.reserve(workers_.size());
  std::vector<Worker*> with_faults;
  each_worker([&](Worker& worker) {
    if (!worker.answers(abort_)) return;
    input.answers.push_back({worker.id, &worker.status});
    if (worker.status.fault) with_faults.push_back(&worker);
  });
  if (rules_.unreachable_pairs_left_out) remember_pairs_of_faults(with_faults);
  input.unreachable_pairs = bad_pairs();
  return judge_formation(input);
}

bool MembershipCore::Impl::try_form()
{
  if (awaited_count_ > 0) return false;  // next_in_words() says for how many
  FormationVerdict verdict = judge_answers();
  if (!verdict.formation)
  {
    waits_ = verdict.waits;
    waiting_for_ = verdict.waiting_for;
    if (verdict.state_lost) lose_state();
    return false;
  }
  if (verdict.formation->members.size() < config_.min_members)
  {
    branch("form.below_minimum");
    waits_ = absl::StrCat("epoch ", abort_.value(), " needs ", config_.min_members, " members, ",
                          verdict.formation->members.size(), " are here; they hold their state");
    return false;
  }
  form(abort_, *std::move(verdict.formation));
  return true;
}

void MembershipCore::Impl::form(Number number, Formation formation)
{
  branch("form.forms");
  NumberRecord content{.kind = NumberRecord::Kind::kFormed,
                       .members = list_of(formation.members),
                       .copiers = std::move(formation.copiers),
                       .base = formation.base,
                       .initial = formation.initial,
                       .last_step = formation.last_step,
                       .switched_from = {}};
  remember_absent(formation.holders, *content.members);
  if (formation.base.step.value() > 0) record_.stepped = true;
  for (const auto& [old, record] : record_.numbers) recent_lists_[old] = record.members;
  while (recent_lists_.size() > kRecentLists) recent_lists_.erase(recent_lists_.begin());
  record_.numbers.clear();
  record_.numbers[number] = std::move(content);
  record_.last_number = std::max(record_.last_number, number);
  record_.newest = number;
  record_.pending = record_.open_abort = Number();
  record_.holders = std::move(formation.holders);
  abort_ = Number();
  progress_.reset();
  decide("P2",
         absl::StrCat("epoch ", number.value(), " of ", formation.members.size(),
                      " members from base ", to_string(formation.base), ": ", formation.reason,
                      formation.left_out.empty() ? "" : "; left out by unreachable pairs: ",
                      names(formation.left_out)));
  persist();
  lists_changed();
}

// Every process that could hold the newest state is known dead.
void MembershipCore::Impl::lose_state()
{
  if (record_.stepped)
  {
    end(EndReason::kStateLost, absl::StrCat("every holder of number ", record_.newest.value(),
                                            " is dead and there is no checkpoint to restore"));
    return;
  }
  if (available_count_ < config_.min_members) return;
  // Nobody ever reported a completed step, so there is nothing but an initial state to lose.
  branch("form.restarts_empty");
  Formation formation{.base = {abort_, StepId(0)},
                      .initial = true,
                      .reason = "no step was ever applied; the lowest worker's initial state"};
  each_worker([&](Worker& worker) {
    if (worker.answers(abort_) && (worker.classes & kAvailable) != 0 && !worker.status.applied &&
        formation.members.size() < config_.max_members)
      formation.members.push_back(worker.id);
  });
  if (formation.members.size() < config_.min_members || formation.members.empty()) return;
  formation.holders = {formation.members.front()};
  formation.copiers.assign(formation.members.begin() + 1, formation.members.end());
  form(abort_, std::move(formation));
}

bool MembershipCore::Impl::too_few() const
{
  // Who waits to be adopted may hold the only state there is: that is an operator's to decide.
  const bool holds = (!record_.newest && fenced_.empty()) || abort_;
  return holds && available_count_ < config_.min_members;
}

// Detail 17: below the minimum size members hold for a bounded time.
void MembershipCore::Impl::watch_size()
{
  if (record_.ended != EndReason::kRunning || !too_few())
  {
    too_few_since_ = kForever;
    return;
  }
  if (too_few_since_ == kForever) too_few_since_ = now_;
  if (now_ < deadline_after(too_few_since_, config_.join_timeout)) return;
  branch("job.too_few");
  end(EndReason::kTooFewMembers,
      absl::StrCat("fewer than ", config_.min_members, " workers for ",
                   std::chrono::duration_cast<std::chrono::seconds>(config_.join_timeout).count(),
                   " s (", available_count_, " here)"));
}

bool MembershipCore::Impl::pending_is_troubled() const
{
  const MemberList& list = *record_.numbers.at(record_.pending).members;
  for (WorkerId worker : silent_)
    if (list.contains(worker)) return true;
  for (const auto& [pair, probe] : pairs_)
    if (list.contains(pair.first) && list.contains(pair.second)) return true;
  return false;
}

bool MembershipCore::Impl::pending_wish_is_urgent() const
{
  if (plan_is_urgent_) return true;
  const MemberList& list = *record_.numbers.at(record_.pending).members;
  for (WorkerId worker : leavers_)
    if (find(worker)->status.leave_is_urgent && list.contains(worker)) return true;
  return false;
}

bool MembershipCore::Impl::too_many_published() const
{
  const auto above = record_.numbers.upper_bound(record_.newest);
  return rules_.urgent_wishes_are_bounded &&
         std::distance(above, record_.numbers.end()) >= static_cast<std::ptrdiff_t>(kMostPublished);
}

// P5, detail 5.
bool MembershipCore::Impl::try_publish()
{
  if (!alarms_.empty()) return false;
  const bool wish =
      !joiners_.empty() || !leavers_.empty() || !plan_reasons_.empty() || !pairs_.empty();
  if (!record_.pending && !wish) return false;
  if (record_.pending && !pending_is_troubled() && !pending_wish_is_urgent()) return false;
  if (record_.pending && !pending_is_troubled() && too_many_published())
  {
    branch("publish.waits");
    waits_ = absl::StrCat("an urgent wish, until one of the ", kMostPublished, " numbers above ",
                          record_.newest.value(), " becomes active");
    return false;
  }
  const std::vector<WorkerId> wanted = desired();
  if (wanted.empty()) return false;
  const std::optional<std::string> reason = reason_to_publish(wanted);
  if (!reason) return false;
  publish(wanted, *reason);
  return true;
}

std::optional<std::string> MembershipCore::Impl::reason_to_publish(
    const std::vector<WorkerId>& wanted) const
{
  const std::vector<WorkerId> newest = record_.numbers.at(record_.newest).members->ids();
  if (record_.pending)
  {
    const std::vector<WorkerId> pending = record_.numbers.at(record_.pending).members->ids();
    if (pending_is_troubled() && wanted != pending)
      return "a member of the pending number is silent or cannot be reached";
    if (pending_wish_is_urgent() && (wanted != pending || plan_is_urgent_))
      return "an urgent wish replaces the pending number";
    return std::nullopt;
  }
  const std::vector<WorkerId> in = difference(wanted, newest);
  const std::vector<WorkerId> out = difference(newest, wanted);
  if (in.empty() && out.empty())
    return plan_reasons_.empty() ? std::nullopt : std::optional<std::string>(plan_reasons_.front());
  return absl::StrCat(in.empty() ? "" : "joins: ", names(in),
                      !in.empty() && !out.empty() ? "; " : "",
                      out.empty() ? "" : "leaves: ", names(out));
}

// P15: whichever number this one is entered from, somebody goes on from there with the base; who
// stays although it wants to leave does so by a change of its own later. Newer numbers than the
// newest known may be active already, so a member of each must be in.
void MembershipCore::Impl::keep_a_holder(const std::vector<WorkerId>& present,
                                         std::vector<WorkerId>& members) const
{
  for (auto at = record_.numbers.rbegin(); at != record_.numbers.rend(); ++at)
  {
    const MemberList& list = *at->second.members;
    const auto in_list = [&](WorkerId worker) { return list.contains(worker); };
    if (std::any_of(members.begin(), members.end(), in_list)) continue;
    const auto stays = std::find_if(present.begin(), present.end(), in_list);
    if (stays == present.end()) continue;
    members.insert(std::lower_bound(members.begin(), members.end(), *stays), *stays);
  }
}

// Who should be a member now, as far as a planned change may decide it.
std::vector<WorkerId> MembershipCore::Impl::desired() const
{
  std::vector<WorkerId> members;
  std::vector<WorkerId> present;
  for (const MemberInfo& info : record_.numbers.at(record_.newest).members->members())
  {
    if (silent_.contains(info.worker)) continue;
    present.push_back(info.worker);
    if (!leavers_.contains(info.worker)) members.push_back(info.worker);
  }
  if (rules_.planned_change_keeps_a_holder) keep_a_holder(present, members);
  const std::vector<WorkerPair> pairs = bad_pairs();
  const auto holds = [](WorkerId) { return true; };
  std::vector<WorkerPair> among;
  for (const WorkerPair& pair : pairs)
    if (std::binary_search(members.begin(), members.end(), pair.first) &&
        std::binary_search(members.begin(), members.end(), pair.second))
      among.push_back(pair);
  const std::vector<WorkerId> out = smallest_left_out(among, holds, members.size());
  members = difference(members, out);
  std::set<WorkerId> chosen(members.begin(), members.end());
  for (WorkerId joiner : joiners_)
  {
    const bool reaches_all = std::none_of(pairs.begin(), pairs.end(), [&](const WorkerPair& pair) {
      return (pair.first == joiner && chosen.contains(pair.second)) ||
             (pair.second == joiner && chosen.contains(pair.first));
    });
    if (reaches_all && chosen.size() < config_.max_members) chosen.insert(joiner);
  }
  return {chosen.begin(), chosen.end()};
}

void MembershipCore::Impl::publish(const std::vector<WorkerId>& members, const std::string& reason)
{
  const Number number = record_.last_number.next();
  const std::vector<WorkerId> newest = record_.numbers.at(record_.newest).members->ids();
  const std::vector<WorkerId> in = difference(members, newest);
  const std::vector<WorkerId> out = difference(newest, members);
  branch(record_.pending ? "publish.replaces"
         : !in.empty()   ? "publish.join"
         : !out.empty()  ? "publish.leave"
                         : "publish.plan");
  if (leavers_.size() == newest.size()) branch("publish.keeps_holder");
  record_.numbers[number] = {.kind = NumberRecord::Kind::kPlanned,
                             .members = list_of(members),
                             .copiers = in,
                             .base = std::nullopt,
                             .initial = false,
                             .last_step = {},
                             .switched_from = {}};
  record_.last_number = number;
  record_.pending = number;
  plan_reasons_.clear();
  plan_is_urgent_ = false;
  decide("P5", absl::StrCat("number ", number.value(), " of ", members.size(),
                            " members is pending: ", reason));
  persist();
  lists_changed();
}

// P6: who left goes once the others are seen to have gone on without it; everybody goes once the
// control-only step is seen complete.
bool MembershipCore::Impl::try_release()
{
  if (!finished_.empty())
  {
    branch("job.finished");
    end(EndReason::kFinished,
        absl::StrCat("worker ", finished_.begin()->value(), " completed the control-only step of ",
                     record_.newest.value()));
    return false;
  }
  if (parting_.empty() || record_.pending) return false;
  const bool may_go = first_words_ > 0 || !rules_.last_holder_waits_for_joiner;
  if (!may_go) return false;
  const WorkerId leaver = *parting_.begin();
  branch("release.leaver");
  Worker& worker = *find(leaver);
  worker.released = true;
  record_.released.insert(
      std::lower_bound(record_.released.begin(), record_.released.end(), leaver), leaver);
  decide("P6", absl::StrCat("worker ", leaver.value(), " is released: number ",
                            record_.newest.value(), " goes on without it"));
  persist();
  classify(worker);
  touched_.push_back(leaver);
  return true;
}

void MembershipCore::Impl::end(EndReason reason, const std::string& detail)
{
  record_.ended = reason;
  record_.end_detail = detail;
  abort_ = Number();
  decide(reason == EndReason::kFinished ? "P6" : "P15",
         absl::StrCat("the job is over (", end_reason_name(reason), "): ", detail));
  persist();
  classify_all();
}

MemberListPtr MembershipCore::Impl::list_of(const std::vector<WorkerId>& workers) const
{
  std::vector<MemberInfo> infos;
  infos.reserve(workers.size());
  for (WorkerId worker : workers) infos.push_back(find(worker)->info);
  return MemberList::make(std::move(infos));
}

std::vector<WorkerPair> MembershipCore::Impl::bad_pairs() const
{
  std::vector<WorkerPair> out;
  for (const auto& [pair, probe] : pairs_) out.push_back(pair);
  return out;
}

}  // namespace spillway
