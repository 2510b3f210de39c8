// SPDX-License-Identifier: Apache-2.0
#include "spillway/coordinator/member_list.h"

#include <algorithm>
#include <array>

#include "spillway/base/check.h"

namespace spillway {
namespace {

bool by_worker(const MemberInfo& a, const MemberInfo& b)
{
  return a.worker < b.worker;
}

Hash128 list_hash(const std::vector<MemberInfo>& members)
{
  struct Fixed
  {
    std::uint64_t worker;
    std::uint64_t node;
    std::uint64_t address;
    std::uint32_t site;
    std::uint32_t weight;
  };
  // In pieces that stay in the cache: the whole of a large job's list would be fresh memory.
  std::array<Fixed, 64> piece;
  std::size_t used = 0;
  ContentHasher128 hasher;
  const auto add_piece = [&] {
    hasher.add({reinterpret_cast<const std::byte*>(piece.data()), used * sizeof(Fixed)});
    used = 0;
  };
  for (const MemberInfo& member : members)
  {
    piece[used++] = {member.worker.value(), member.node.value(), member.address.hash(),
                     member.site.value(), member.weight};
    if (used == piece.size()) add_piece();
  }
  add_piece();
  return hasher.hash();
}

}  // namespace

MemberList::MemberList(std::vector<MemberInfo> members) : members_(std::move(members))
{
  if (!std::is_sorted(members_.begin(), members_.end(), by_worker))
    std::sort(members_.begin(), members_.end(), by_worker);
  for (std::size_t i = 1; i < members_.size(); ++i)
    SPILLWAY_CHECK(members_[i - 1].worker != members_[i].worker, "worker ",
                   members_[i].worker.value(), " is twice in one member list");
  hash_ = list_hash(members_);
}

MemberListPtr MemberList::make(std::vector<MemberInfo> members)
{
  return MemberListPtr(new MemberList(std::move(members)));
}

const MemberInfo* MemberList::find(WorkerId worker) const
{
  const auto at = std::lower_bound(members_.begin(), members_.end(), worker,
                                   [](const MemberInfo& m, WorkerId id) { return m.worker < id; });
  return at != members_.end() && at->worker == worker ? &*at : nullptr;
}

std::optional<Rank> MemberList::rank_of(WorkerId worker) const
{
  const MemberInfo* member = find(worker);
  if (member == nullptr) return std::nullopt;
  return Rank(static_cast<std::uint32_t>(member - members_.data()));
}

std::vector<WorkerId> MemberList::ids() const
{
  std::vector<WorkerId> ids;
  ids.reserve(members_.size());
  for (const MemberInfo& member : members_) ids.push_back(member.worker);
  return ids;
}

MemberListUpdate whole_list(const MemberList& list)
{
  return {.relative_to = {}, .added = list.members(), .removed = {}, .hash = list.hash()};
}

MemberListUpdate list_changes(Number relative_to, const MemberList& from, const MemberList& to)
{
  MemberListUpdate update{
      .relative_to = relative_to, .added = {}, .removed = {}, .hash = to.hash()};
  auto a = from.members().begin();
  auto b = to.members().begin();
  while (a != from.members().end() || b != to.members().end())
  {
    if (b == to.members().end() || (a != from.members().end() && a->worker < b->worker))
      update.removed.push_back((a++)->worker);
    else if (a == from.members().end() || b->worker < a->worker)
      update.added.push_back(*b++);
    else
    {
      if (!(*a == *b)) update.added.push_back(*b);  // replaces what the receiver has
      ++a;
      ++b;
    }
  }
  return update;
}

absl::StatusOr<MemberListPtr> apply_update(const MemberList* from, const MemberListUpdate& update)
{
  std::vector<MemberInfo> members;
  if (update.relative_to)
  {
    if (from == nullptr)
      return absl::FailedPreconditionError(
          absl::StrCat("the list of number ", update.relative_to.value(), " is not known here"));
    members = from->members();
  }
  std::vector<WorkerId> gone = update.removed;
  for (const MemberInfo& member : update.added) gone.push_back(member.worker);
  std::sort(gone.begin(), gone.end());
  for (std::size_t i = 1; i < update.added.size(); ++i)
    if (!(update.added[i - 1].worker < update.added[i].worker))
      return absl::DataLossError("a member list update is not in ascending order");
  std::erase_if(members, [&](const MemberInfo& member) {
    return std::binary_search(gone.begin(), gone.end(), member.worker);
  });
  members.insert(members.end(), update.added.begin(), update.added.end());
  MemberListPtr list = MemberList::make(std::move(members));
  if (!(list->hash() == update.hash))
    return absl::DataLossError(
        absl::StrCat("a member list of ", list->size(), " has another hash than was announced"));
  return list;
}

}  // namespace spillway
