// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "spillway/base/hash.h"
#include "spillway/base/ids.h"
#include "spillway/base/shared_text.h"

namespace spillway {

// What everybody knows of one member: where it is and how much of a step it takes.
struct MemberInfo
{
  WorkerId worker;
  NodeId node;
  SiteId site{1};
  SharedText address;  // of its peer listener
  std::uint32_t weight = 1;
  friend bool operator==(const MemberInfo&, const MemberInfo&) = default;
};

class MemberList;
using MemberListPtr = std::shared_ptr<const MemberList>;

// The members of one number, ascending by worker id; a member's rank is its index. Immutable, so
// that a list of thousands is shared instead of copied, by any thread.
class MemberList
{
 public:
  // Sorts; a worker given twice is our own bug.
  static MemberListPtr make(std::vector<MemberInfo> members);

  const std::vector<MemberInfo>& members() const { return members_; }
  std::size_t size() const { return members_.size(); }
  bool empty() const { return members_.empty(); }
  const MemberInfo* find(WorkerId worker) const;
  bool contains(WorkerId worker) const { return find(worker) != nullptr; }
  std::optional<Rank> rank_of(WorkerId worker) const;
  std::vector<WorkerId> ids() const;
  // Of every field of every member, in order.
  const Hash128& hash() const { return hash_; }

 private:
  explicit MemberList(std::vector<MemberInfo> members);
  std::vector<MemberInfo> members_;
  Hash128 hash_;
};

// A list as it travels: the changes against a list that the receiver is known to hold, or the
// whole list for who holds none (P17). The hash is that of the resulting list.
struct MemberListUpdate
{
  Number relative_to;  // none: `added` is the whole list
  std::vector<MemberInfo> added;
  std::vector<WorkerId> removed;
  Hash128 hash;
  friend bool operator==(const MemberListUpdate&, const MemberListUpdate&) = default;
};

MemberListUpdate whole_list(const MemberList& list);
MemberListUpdate list_changes(Number relative_to, const MemberList& from, const MemberList& to);
// `from` is the list of update.relative_to, or nullptr. kFailedPrecondition if that list is
// needed and missing; kDataLoss if the result has another hash than announced.
absl::StatusOr<MemberListPtr> apply_update(const MemberList* from, const MemberListUpdate& update);

}  // namespace spillway
