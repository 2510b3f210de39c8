// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "spillway/coordinator/hello.h"

namespace spillway::coordinator {

// Who may take part in a job: pure checks, each refusal typed and with what to do about it.

// What a job is known to be when somebody introduces himself. The first worker's spec is the
// job's; before that any fits.
struct AdmissionRule
{
  std::string job;
  Lineage lineage;  // zero: not born
  std::optional<JobSpec> spec;
  WorkerId spec_owner;  // whose spec that is, for messages
  std::optional<JobOptions> options;
};

// kFailedPrecondition: another job or lineage. kInvalidArgument: version, model, batch, data or
// arithmetic class do not fit.
absl::Status admit_worker(const AdmissionRule& rule, const WorkerHello& hello);
absl::Status admit_node(const AdmissionRule& rule, const NodeHello& hello);

// The first difference in words ("tensor 3: fc.weight float32 [256,784] here, fc.weight float32
// [128,784] there"), or an empty string.
std::string first_difference(const std::vector<TensorSpec>& here,
                             const std::vector<TensorSpec>& there);
std::string first_difference(const std::vector<std::string>& here,
                             const std::vector<std::string>& there);

}  // namespace spillway::coordinator
