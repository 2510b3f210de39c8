// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "spillway/launcher/run_options.h"

namespace spillway {

// The command of one worker, argv[0] a path that exists and may be executed. kNotFound or
// kPermissionDenied otherwise, with what to do. Reads the file system, starts nothing.
absl::StatusOr<std::vector<std::string>> resolve_command(const RunOptions& options,
                                                         const EnvironmentLookup& lookup);

// CPUs that are online and GPUs that CUDA_VISIBLE_DEVICES or /dev shows.
int count_cpus();
int count_gpus(const EnvironmentLookup& lookup, const std::string& dev = "/dev");

}  // namespace spillway
