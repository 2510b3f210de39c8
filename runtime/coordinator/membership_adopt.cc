// SPDX-License-Identifier: Apache-2.0
// A coordinator without a record of a lineage forms no epoch for it (P11), until all members of
// its newest reported number agree or an operator says `adopt`.
#include <algorithm>
#include <utility>

#include "membership_impl.h"

namespace spillway {
namespace {

// Numbers and workers that nobody here has heard of may exist: a joiner that is away may know of
// a higher number, or be one. So many are skipped.
constexpr std::uint64_t kAdoptionGap = std::uint64_t{1} << 20;
constexpr std::uint64_t kWorkerGap = 1024;
// Worker ids index a table: a claimed id beyond this is nonsense.
constexpr std::uint64_t kHighestWorkerId = std::uint64_t{1} << 24;

}  // namespace

// Whether the greeting ends here: refused, or held until somebody adopts its lineage.
bool MembershipCore::Impl::fence(const WorkerGreeted& event)
{
  const MemberStatus& status = event.hello.status;
  const auto refuse = [&](std::string why) {
    branch("greet.refused");
    decide("P11", absl::StrCat("refused a worker: ", why));
    emit(Refuse{event.token, absl::FailedPreconditionError(why)});
    return true;
  };
  const WorkerId worker = event.hello.worker;
  if (!worker) return false;
  if (worker.value() >= kHighestWorkerId)
    return refuse(absl::StrCat("worker id ", worker.value(), " is out of range"));
  if (status.lineage == record_.lineage)
  {
    if (is_from_later(event.hello)) return true;
    // After an adoption there may be some whom nobody knew.
    if (worker >= reserved_workers_)
      return refuse(absl::StrCat("worker id ", worker.value(), " was never given in this job"));
    return false;
  }
  if (record_.newest || reserved_workers_ != WorkerId(1))
    return refuse(absl::StrCat("lineage ", status.lineage.value(), " is not this job's, which is ",
                               record_.lineage.value(),
                               "; end that worker or give the job another name"));
  if (!status.lineage) return refuse("a worker with an id must name its lineage");
  branch("greet.fenced");
  decide("P11", absl::StrCat("worker ", worker.value(), " belongs to lineage ",
                             status.lineage.value(), ", of which this store knows nothing"));
  if (fenced_.empty()) fenced_lineage_ = status.lineage;
  if (status.lineage != fenced_lineage_)
    return refuse("another unknown lineage is waiting to be adopted");
  fenced_[worker] = event;
  return true;
}

// Everything is stored before anybody hears of it, so that nobody can know more than an honest
// record.
bool MembershipCore::Impl::is_from_later(const Hello& hello)
{
  const MemberStatus& status = hello.status;
  const Number knows = std::max(
      {status.highest_seen, status.promised, status.current, status.installed, status.left});
  if (knows <= record_.last_number) return false;
  emit(RecordIsOld{absl::StrCat("worker ", hello.worker.value(), " knows number ", knows.value(),
                                ", the record ends with ", record_.last_number.value())});
  return true;
}

// All members of the newest number that anybody reports are here and say the same, and nobody has
// heard of a higher number, which might become active without them.
bool MembershipCore::Impl::try_adopt()
{
  if (fenced_.empty()) return false;
  Number newest;
  for (const auto& [worker, greeting] : fenced_)
    newest = std::max(newest, greeting.hello.status.current);
  const std::vector<MemberInfo>* list = nullptr;
  for (const auto& [worker, greeting] : fenced_)
    if (greeting.hello.status.current == newest) list = &greeting.hello.members;
  const bool complete =
      newest && list != nullptr && !list->empty() &&
      std::all_of(list->begin(), list->end(),
                  [&](const MemberInfo& member) {
                    const auto at = fenced_.find(member.worker);
                    return at != fenced_.end() && at->second.hello.status.current == newest;
                  }) &&
      std::all_of(fenced_.begin(), fenced_.end(), [&](const auto& item) {
        const MemberStatus& status = item.second.hello.status;
        return std::max(status.highest_seen, status.promised) <= newest;
      });
  if (!complete)
  {
    waits_ = absl::StrCat("lineage ", fenced_lineage_.value(),
                          " is unknown to this store: an operator may say `adopt`");
    if (list != nullptr)
      for (const MemberInfo& member : *list)
        if (!fenced_.contains(member.worker)) waiting_for_.push_back(member.worker);
    return false;
  }
  branch("adopt.unanimous");
  adopt(false);
  return true;
}

void MembershipCore::Impl::on(const AdoptRequested& event)
{
  if (fenced_.empty() || event.lineage != fenced_lineage_)
    return decide("P11", absl::StrCat("nothing to adopt under lineage ", event.lineage.value()));
  branch("adopt.by_operator");
  adopt(true);
}

// The newest number that somebody here is in, with its members; 0 if nobody says so.
std::pair<Number, MemberListPtr> MembershipCore::Impl::newest_reported() const
{
  Number newest;
  const std::vector<MemberInfo>* members = nullptr;
  for (const auto& [worker, greeting] : fenced_)
  {
    const Hello& hello = greeting.hello;
    if (hello.status.current < newest || hello.members.empty()) continue;
    newest = hello.status.current;
    members = &hello.members;
  }
  return {newest, members == nullptr ? nullptr : MemberList::make(*members)};
}

// Nobody is in a number. But who has left one may hold what its members had, and whom the first
// one's announcement is still on its way to will enter it late. So a number that never was stands
// for theirs: all who are here are its members, must promise before another one is formed, and any
// of them may hold the newest state.
void MembershipCore::Impl::adopt_outside_numbers()
{
  std::vector<MemberInfo> here;
  for (const auto& [worker, greeting] : fenced_)
  {
    here.push_back(greeting.hello.info);
    here.back().worker = worker;
    record_.holders.push_back(worker);
    record_.stepped = record_.stepped || greeting.hello.status.installed;
  }
  record_.newest = record_.last_number;
  record_.numbers[record_.newest] = {.kind = NumberRecord::Kind::kPlanned,
                                     .members = MemberList::make(std::move(here))};
}

// Takes over the newest number that is reported, and aborts it: the next epoch is formed by the
// usual rules from what its members promise.
void MembershipCore::Impl::adopt(bool by_operator)
{
  WorkerId highest_worker;
  for (const auto& [worker, greeting] : fenced_)
  {
    const MemberStatus& status = greeting.hello.status;
    record_.last_number = std::max({record_.last_number, status.highest_seen, status.promised,
                                    status.current, status.installed, status.left});
    highest_worker = std::max(highest_worker, worker);
    for (const MemberInfo& member : greeting.hello.members)
      highest_worker = std::max(highest_worker, member.worker);
  }
  record_.lineage = fenced_lineage_;
  reserved_workers_ = record_.next_worker = WorkerId(highest_worker.value() + kWorkerGap);
  record_.last_number = Number(record_.last_number.value() + kAdoptionGap);
  const auto [newest, members] = newest_reported();
  if (newest)
  {
    record_.newest = newest;
    record_.numbers[newest] = {.kind = NumberRecord::Kind::kPlanned, .members = members};
    record_.stepped = true;
  }
  else
    adopt_outside_numbers();
  decide("P11",
         absl::StrCat("adopted lineage ", record_.lineage.value(),
                      newest ? absl::StrCat(" at number ", newest.value()) : ", outside numbers",
                      by_operator ? ": an operator said so" : ": all its members agree"));
  expect_members();
  // With the same write, so that whoever starts again from this record goes on with the abort.
  begin_abort("the lineage was adopted");
  if (!rules_.abort_number_is_persisted) persist();
  const std::map<WorkerId, WorkerGreeted> greetings = std::exchange(fenced_, {});
  for (const auto& [worker, greeting] : greetings) on(greeting);
}

}  // namespace spillway
