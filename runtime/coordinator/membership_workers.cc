// SPDX-License-Identifier: Apache-2.0
// Who is heard, silent or dead, and what follows from what each worker says.
#include <algorithm>
#include <iterator>
#include <ranges>

#include "membership_impl.h"
#include "spillway/base/check.h"
#include "worker_sets.h"

namespace spillway {
namespace {

// Worker ids are persisted as given in blocks, so that a start of thousands is few writes.
constexpr std::uint64_t kWorkerIdBlock = 64;

// Goes along a member list in step with a walk over workers in ascending order.
class ListCursor
{
 public:
  explicit ListCursor(const MemberList& list)
      : at_(list.members().begin()), end_(list.members().end())
  {
  }
  // Of ascending workers.
  bool has(WorkerId worker)
  {
    while (at_ != end_ && at_->worker < worker) ++at_;
    return at_ != end_ && at_->worker == worker;
  }

 private:
  std::vector<MemberInfo>::const_iterator at_;
  std::vector<MemberInfo>::const_iterator end_;
};

}  // namespace

MembershipCore::Impl::Worker* MembershipCore::Impl::find(WorkerId worker)
{
  return worker.value() < workers_.size() ? workers_[worker.value()].get() : nullptr;
}
const MembershipCore::Impl::Worker* MembershipCore::Impl::find(WorkerId worker) const
{
  return worker.value() < workers_.size() ? workers_[worker.value()].get() : nullptr;
}

MembershipCore::Impl::Worker& MembershipCore::Impl::put(WorkerId worker)
{
  if (worker.value() >= workers_.size()) workers_.resize(worker.value() + 1);
  auto& slot = workers_[worker.value()];
  if (!slot) slot = std::make_unique<Worker>(worker);
  return *slot;
}

// A coordinator that takes a record up knows nobody: all who may hold the newest state count as
// quiet from now on, with time to come back (detail 9).
MembershipCore::Impl::Worker& MembershipCore::Impl::expect(WorkerId id)
{
  Worker& worker = put(id);
  worker.quiet_since = now_;
  worker.released = std::binary_search(record_.released.begin(), record_.released.end(), id);
  set_timer(worker, deadline_after(now_, config_.reconnect_grace));
  return worker;
}

void MembershipCore::Impl::expect_members()
{
  for (const auto& [number, content] : record_.numbers)
    for (const MemberInfo& info : content.members->members())
    {
      Worker& worker = expect(info.worker);
      worker.info = info;
      ++worker.active_lists;
      worker.in_newest = worker.in_newest || number == record_.newest;
    }
}

// Only connected workers, members of numbers that may be active, and who may hold the newest state
// are remembered.
void MembershipCore::Impl::forget_if_gone(WorkerId id)
{
  Worker* worker = find(id);
  if (worker == nullptr || worker->connected || worker->active_lists > 0) return;
  if (!worker->dead && std::binary_search(record_.absent.begin(), record_.absent.end(), id)) return;
  std::erase(record_.absent, id);
  worker->silent = worker->released = false;
  classify(*worker);
  set_timer(*worker, kForever);
  std::erase_if(pairs_, [&](const auto& p) { return p.first.first == id || p.first.second == id; });
  workers_[id.value()].reset();
}

WorkerId MembershipCore::Impl::accept(const WorkerGreeted& event)
{
  const WorkerId known = event.hello.worker;
  if (known)
  {
    branch("greet.returns");
    return known;
  }
  branch("greet.new");
  const WorkerId id = reserved_workers_;
  reserved_workers_ = id.next();
  if (reserved_workers_ > record_.next_worker)
  {
    record_.next_worker = WorkerId(id.value() + kWorkerIdBlock);
    persist();
  }
  return id;
}

void MembershipCore::Impl::take_status(Worker& worker, const MemberStatus& status)
{
  const WorkerId id = worker.id;
  worker.status = status;
  worker.has_status = true;
  worker.silent = false;
  if (worker.timer != kForever) set_timer(worker, kForever);
  if (status.wants_list && status.wants_list != worker.whole_list_of)
  {
    branch("list.whole_again");
    worker.whole_list_of = status.wants_list;
    if (worker.sent_epoch == status.wants_list) worker.sent_epoch = Number();
    if (worker.sent_pending == status.wants_list) worker.sent_pending = Number();
  }
  const Number active = std::max(status.current, status.installed);
  if (active > record_.newest && record_.numbers.contains(active))
    heard_active(active, status.switched_from);
  if (status.first_word && !record_.stepped)
  {
    record_.stepped = true;
    persist();
  }
  if (rules_.unreachable_pairs_left_out && rules_.failed_preparation_reports_pair)
    for (WorkerId peer : status.unreachable)
      if (const Worker* other = find(peer); other != nullptr && !other->silent)
        remember_pair(id, peer, "could not connect while preparing");
  classify(worker);
  touched_.push_back(id);
}

// A report names a planned number as entered: it is the newest active one now (P4).
void MembershipCore::Impl::heard_active(Number number, Number switched_from)
{
  branch("active.planned");
  record_.holders.clear();
  if (rules_.predecessors_hold_planned_base)
  {
    const bool named = rules_.predecessors_are_the_switched_number &&
                       record_.numbers.contains(switched_from) && switched_from < number;
    for (const auto& [lower, content] : record_.numbers)
    {
      if (lower >= number || (named && lower != switched_from)) continue;
      const std::vector<WorkerId> members = content.members->ids();
      record_.holders.insert(record_.holders.end(), members.begin(), members.end());
    }
    make_set(record_.holders);
  }
  NumberRecord& content = record_.numbers.at(number);
  content.switched_from = switched_from;
  remember_absent(record_.holders, *content.members);
  for (auto at = record_.numbers.begin(); at != record_.numbers.find(number);)
  {
    recent_lists_[at->first] = at->second.members;
    at = record_.numbers.erase(at);
  }
  record_.newest = number;
  if (record_.pending == number) record_.pending = Number();
  decide("P5", absl::StrCat("number ", number.value(), " is active, entered from ",
                            switched_from.value()));
  persist();
  lists_changed();
}

// Before `list` becomes the newest: who is in none of the lists that remain, but was in one of the
// others or holds the base. If all in the lists die, these are who can have the state.
void MembershipCore::Impl::remember_absent(const std::vector<WorkerId>& holders,
                                           const MemberList& list)
{
  // All of these ascend like `list`, so that no worker has to be looked up in it.
  constexpr auto ids_of = std::views::transform(&MemberInfo::worker);
  std::vector<WorkerId> absent;
  const auto add = [&](const auto& workers) {
    std::ranges::set_difference(workers, list.members() | ids_of, std::back_inserter(absent));
  };
  add(record_.absent);
  add(holders);
  for (const auto& [number, content] : record_.numbers) add(content.members->members() | ids_of);
  make_set(absent);
  std::erase_if(absent, [&](WorkerId id) {
    const Worker* worker = find(id);
    return worker == nullptr || worker->dead || worker->released;
  });
  record_.absent = std::move(absent);
}

void MembershipCore::Impl::silence(Worker& worker, const std::string& reason)
{
  if (!worker.silent)
  {
    branch("silent.told");
    worker.silent = true;
    if (!worker.dead)
    {
      if (worker.connected) worker.quiet_since = now_;
      set_timer(worker, deadline_after(worker.quiet_since, config_.lease));
      decide("detail 1", absl::StrCat("worker ", worker.id.value(), " is judged silent: ", reason));
    }
  }
  classify(worker);
}

// How many numbers that may be active list each worker, and what it is thereby, in one walk.
void MembershipCore::Impl::lists_changed()
{
  std::vector<std::pair<ListCursor, bool>> lists;  // is it the newest?
  std::size_t unseen = 0;
  for (const auto& [number, content] : record_.numbers)
  {
    lists.emplace_back(*content.members, number == record_.newest);
    unseen += content.members->size();
  }
  classify_each([&](Worker& worker) {
    worker.active_lists = 0;
    worker.in_newest = false;
    for (auto& [list, newest] : lists)
    {
      if (!list.has(worker.id)) continue;
      ++worker.active_lists;
      worker.in_newest = worker.in_newest || newest;
      worker.was_forgotten = worker.was_forgotten && !newest;
      --unseen;
    }
  });
  SPILLWAY_CHECK(unseen == 0, unseen, " listed workers are not known");
}

void MembershipCore::Impl::classify_all()
{
  classify_each([](Worker&) {});
}

template <typename Prepare>
void MembershipCore::Impl::classify_each(const Prepare& prepare)
{
  std::vector<WorkerId> gone;
  each_worker([&](Worker& worker) {
    prepare(worker);
    classify(worker);
    if (!worker.connected && worker.active_lists == 0) gone.push_back(worker.id);
  });
  for (WorkerId worker : gone) forget_if_gone(worker);
  all_touched_ = true;
}

bool MembershipCore::Impl::promise_unanswered(const Worker& worker) const
{
  const Number promised = worker.status.promised;
  if (!promised || worker.active_lists == 0 || record_.numbers.empty()) return false;
  if (promised > record_.numbers.rbegin()->first) return true;
  return rules_.unanswered_promise_resumes_abort && promised > record_.newest &&
         !record_.numbers.contains(promised);
}

bool MembershipCore::Impl::calls_for_abort(const Worker& worker) const
{
  if (worker.released) return false;
  if (worker.in_newest && worker.silent) return true;
  if (!worker.connected || !worker.has_status) return false;
  const auto& fault = worker.status.fault;
  if (fault && fault->number >= record_.newest && record_.numbers.contains(fault->number))
    return true;
  if (fault && rules_.fault_of_previous_number_counts && worker.in_newest &&
      fault->number == worker.status.current &&
      fault->number == record_.numbers.at(record_.newest).switched_from)
    return true;
  return promise_unanswered(worker);
}

unsigned MembershipCore::Impl::classes_of(const Worker& worker) const
{
  const MemberStatus& status = worker.status;
  const bool heard = worker.connected && worker.has_status && !worker.silent;
  const bool running = record_.newest && record_.ended == EndReason::kRunning;
  const bool asked = (worker.connected || worker.active_lists > 0) && !worker.silent;
  unsigned classes = worker.silent ? unsigned{kSilent} : 0;
  if (worker.released) return classes;
  if (abort_ && asked && !worker.answers(abort_)) classes |= kAwaited;
  if (running && !abort_ && calls_for_abort(worker)) classes |= kCallsForAbort;
  if (!heard) return classes;
  if (!status.wants_to_leave) classes |= kAvailable;
  if (!worker.in_newest) return classes | (status.wants_to_leave ? kParting : kJoiner);
  if (status.wants_to_leave) classes |= kLeaver;
  if (status.first_word == record_.newest) classes |= kSawFirstWord;
  if (running && status.done == record_.newest) classes |= kFinished;
  return classes;
}

// Recomputes the classes of one worker from its own state; nothing else depends on it.
void MembershipCore::Impl::classify(Worker& worker)
{
  const unsigned classes = classes_of(worker);
  const unsigned changed = classes ^ std::exchange(worker.classes, classes);
  if (changed == 0) return;
  const auto count = [&](Class which, std::size_t& counter) {
    if ((changed & which) != 0) (classes & which) != 0 ? ++counter : --counter;
  };
  const auto put_in = [&](Class which, std::set<WorkerId>& set) {
    if ((changed & which) == 0) return;
    if ((classes & which) != 0)
      set.insert(worker.id);
    else
      set.erase(worker.id);
  };
  count(kAwaited, awaited_count_);
  count(kAvailable, available_count_);
  count(kSawFirstWord, first_words_);
  constexpr unsigned kCounted = kAwaited | kAvailable | kSawFirstWord;
  if ((changed & ~kCounted) == 0) return;  // as in almost all walks and answers
  put_in(kCallsForAbort, alarms_);
  put_in(kJoiner, joiners_);
  put_in(kLeaver, leavers_);
  put_in(kParting, parting_);
  put_in(kFinished, finished_);
  put_in(kSilent, silent_);
}

void MembershipCore::Impl::set_timer(Worker& worker, MonotonicTime at)
{
  if (worker.timer != kForever) timers_.erase({worker.timer, worker.id});
  worker.timer = at;
  if (at != kForever) timers_.insert({at, worker.id});
}

}  // namespace spillway
