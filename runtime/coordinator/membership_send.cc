// SPDX-License-Identifier: Apache-2.0
// What each worker should have been told on its connection, and is not yet (P3, P17).
#include <algorithm>

#include "membership_impl.h"
#include "spillway/base/check.h"
#include "spillway/coordinator/cut.h"

namespace spillway {

void MembershipCore::Impl::flush_touched()
{
  last_batch_ = batches_.end();
  if (all_touched_)
    each_worker([this](Worker& worker) { flush(worker); });
  else
    for (WorkerId id : touched_)
      if (Worker* worker = find(id); worker != nullptr) flush(*worker);
  all_touched_ = false;
  touched_.clear();
  for (auto& [key, batch] : batches_) emit(std::move(batch));
  batches_.clear();
}

void MembershipCore::Impl::flush(Worker& worker)
{
  if (!worker.connected) return;
  if (record_.ended != EndReason::kRunning || worker.released) return send_release(worker);
  if (abort_) return send_abort(worker);
  if (!worker.has_status || !record_.newest) return;
  send_epoch(worker);
  send_pending(worker);
}

// One action for all that get the same message.
template <typename Make>
void MembershipCore::Impl::add_to_batch(int kind, Number number, Number base, WorkerId worker,
                                        const Make& make)
{
  const BatchKey key{kind, number, base};
  if (last_batch_ == batches_.end() || last_batch_->first != key)
  {
    const auto [at, fresh] = batches_.try_emplace(key);
    if (fresh) at->second.message = make();
    last_batch_ = at;  // most workers get what the one before got
  }
  last_batch_->second.to.push_back(worker);
}

void MembershipCore::Impl::send_release(Worker& worker)
{
  if (std::exchange(worker.sent_release, true)) return;
  const bool over = record_.ended != EndReason::kRunning;
  add_to_batch(0, record_.newest, Number(over ? 1 : 0), worker.id, [&] {
    return Release{EpochName::one_site(record_.lineage, record_.newest),
                   over ? record_.ended : EndReason::kReleased,
                   over ? record_.end_detail : "the others go on"};
  });
}

void MembershipCore::Impl::send_abort(Worker& worker)
{
  if (std::exchange(worker.sent_abort, abort_) == abort_) return;
  add_to_batch(1, abort_, {}, worker.id,
               [&] { return Abort{EpochName::one_site(record_.lineage, abort_)}; });
}

// A list that this worker is known to hold: that of the number it last reported as current.
const MemberList* MembershipCore::Impl::list_held_by(const Worker& worker, Number target,
                                                     Number& base) const
{
  const Number current = worker.status.current;
  base = Number();
  if (!current || worker.whole_list_of == target) return nullptr;
  if (const auto at = record_.numbers.find(current); at != record_.numbers.end())
  {
    base = current;
    return at->second.members.get();
  }
  if (const auto at = recent_lists_.find(current); at != recent_lists_.end())
  {
    base = current;
    return at->second.get();
  }
  return nullptr;
}

// A planned number is announced by those who enter it. But who was counted as dead and comes back
// from an older number than that was entered from has nobody who would tell it, and would go on.
bool MembershipCore::Impl::must_hear_of_newest(const Worker& worker) const
{
  const Number current = worker.status.current;
  if (current >= record_.newest) return false;
  const NumberRecord& content = record_.numbers.at(record_.newest);
  if (content.kind == NumberRecord::Kind::kFormed) return worker.in_newest || current;
  return worker.was_forgotten && !worker.in_newest && current && current != content.switched_from;
}

void MembershipCore::Impl::send_epoch(Worker& worker)
{
  const NumberRecord& content = record_.numbers.at(record_.newest);
  if (!must_hear_of_newest(worker)) return;
  if (std::exchange(worker.sent_epoch, record_.newest) == record_.newest) return;
  Number base;
  const MemberList* held = list_held_by(worker, record_.newest, base);
  add_to_batch(2, record_.newest, base, worker.id, [&] {
    return EpochAnnouncement{
        .name = EpochName::one_site(record_.lineage, record_.newest),
        .members = held == nullptr ? whole_list(*content.members)
                                   : list_changes(base, *held, *content.members),
        .copiers = copier_set(content),
        .base = content.base.value_or(StateName()),
        .initial = content.initial,
        .last_step = content.last_step,
        .cut_hash = first_cut_hash(content),
    };
  });
}

void MembershipCore::Impl::send_pending(Worker& worker)
{
  if (!record_.pending) return;
  const NumberRecord& content = record_.numbers.at(record_.pending);
  if (!worker.in_newest && !content.members->contains(worker.id)) return;
  if (std::exchange(worker.sent_pending, record_.pending) == record_.pending) return;
  Number base;
  const MemberList* held = list_held_by(worker, record_.pending, base);
  add_to_batch(3, record_.pending, base, worker.id, [&] {
    return PendingAnnouncement{
        .name = EpochName::one_site(record_.lineage, record_.pending),
        .members = held == nullptr ? whole_list(*content.members)
                                   : list_changes(base, *held, *content.members),
        .expected_joiners = content.copiers,
    };
  });
}

CopierSet MembershipCore::Impl::copier_set(const NumberRecord& content) const
{
  if (content.copiers.size() * 2 <= content.members->size()) return {false, content.copiers};
  CopierSet set{true, {}};
  for (const MemberInfo& info : content.members->members())
    if (!std::binary_search(content.copiers.begin(), content.copiers.end(), info.worker))
      set.workers.push_back(info.worker);
  return set;
}

std::uint64_t MembershipCore::Impl::first_cut_hash(const NumberRecord& content) const
{
  std::vector<CutMember> members;
  members.reserve(content.members->size());
  for (const MemberInfo& info : content.members->members())
    members.push_back({info.weight, !std::binary_search(content.copiers.begin(),
                                                        content.copiers.end(), info.worker)});
  return cut_hash(cut(kReferenceBatch, members));
}

}  // namespace spillway
