// SPDX-License-Identifier: Apache-2.0
#include "step_slice.h"

#include <algorithm>

#include "spillway/base/check.h"
#include "spillway/coordinator/cut.h"

namespace spillway::engine {

StepPlan plan_step(const DataPlan& data, StepId step, const MemberList& members,
                   absl::Span<const WorkerId> copiers, WorkerId self)
{
  std::vector<CutMember> shares;
  for (const MemberInfo& member : members.members())
    shares.push_back(
        {.weight = member.weight,
         .takes_part = !std::binary_search(copiers.begin(), copiers.end(), member.worker)});
  const auto rank = members.rank_of(self);
  SPILLWAY_CHECK(rank, "worker ", self.value(), " is no member of its own number");
  StepPlan plan;
  plan.rank = *rank;
  plan.members = static_cast<std::uint32_t>(members.size());
  plan.member_ids = members.ids();
  if (!shares[rank->value()].takes_part) return plan;
  const std::vector<Slice> slices = cut(data.options().global_batch, shares);
  const Slice& mine = slices[rank->value()];
  plan.slice = data.slice(step, mine.begin, mine.begin + mine.length);
  plan.micro_batches = data.micro_batches(plan.slice);
  const auto first = std::find_if(slices.begin(), slices.end(),
                                  [](const Slice& slice) { return slice.length > 0; });
  plan.lead = first - slices.begin() == static_cast<std::ptrdiff_t>(rank->value());
  return plan;
}

}  // namespace spillway::engine
