// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <vector>

#include "absl/types/span.h"
#include "spillway/coordinator/member_list.h"
#include "spillway/engine/engine.h"

namespace spillway::engine {

// What `self` computes in a step: its part of the cut among the members that hold the base (P7).
// Of `rank`, `slice`, `micro_batches`, `lead` and `member_ids`; an empty slice is the runtime's own
// business, the loop never sees it.
StepPlan plan_step(const DataPlan& data, StepId step, const MemberList& members,
                   absl::Span<const WorkerId> copiers, WorkerId self);

}  // namespace spillway::engine
