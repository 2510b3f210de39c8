// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "spillway/launcher/run_options.h"
#include "spillway/launcher/supervisor.h"

namespace spillway {

// The folder of one run: ROOT/JOB_RANDOM/attempt_N/LOCAL_RANK/{stdout,stderr}.log and error.json,
// laid out as torchrun does. ROOT is --log-dir or a temporary folder; it is made when first needed.
class LogFolder
{
 public:
  // Fails when --log-dir is given and cannot be written.
  static absl::StatusOr<LogFolder> create(const RunOptions& options,
                                          const EnvironmentLookup& lookup);
  const std::string& path() const { return path_; }
  // Both streams of one worker, `rank` is its global one.
  void plan(const RunOptions& options, int attempt, int rank, Supervisor& supervisor,
            WorkerLaunch& launch) const;
  std::string error_file(int attempt, int local_rank) const;

 private:
  explicit LogFolder(std::string path) : path_(std::move(path)) {}
  std::string path_;
};

}  // namespace spillway
