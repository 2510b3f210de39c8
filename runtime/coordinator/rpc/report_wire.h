// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "absl/status/status.h"
#include "rpc/services.pb.h"
#include "spillway/coordinator/report.h"

// As membership_wire.h, for report.h.
namespace spillway::wire {

void to_wire(const coordinator::JobReport& in, JobReport* out);
void to_wire(const coordinator::JobSummary& in, JobSummary* out);
absl::Status from_wire(const JobReport& in, coordinator::JobReport* out);
absl::Status from_wire(const JobSummary& in, coordinator::JobSummary* out);

}  // namespace spillway::wire
