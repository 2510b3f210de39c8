// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "spillway/base/clock.h"
#include "spillway/coordinator/job_runner.h"
#include "spillway/coordinator/report.h"
#include "spillway/coordinator/store.h"

namespace spillway::coordinator {

struct CoordinatorOptions
{
  RunnerOptions runner;
  std::size_t jobs_max = 1024;
};

// Serves many jobs from one store under one term: a runner each, made when the first agent names
// the job or when the store has a record of it. Without gRPC. Safe from any thread.
class Coordinator
{
 public:
  // Takes the lead in `store`, which it owns from now on. `on_deposed` is told once, from any
  // thread, when another coordinator takes the lead: this one can only be closed then.
  static absl::StatusOr<std::unique_ptr<Coordinator>> open(
      std::unique_ptr<Store> store, const CoordinatorOptions& options, const Clock& clock,
      std::function<void(const absl::Status&)> on_deposed = nullptr);
  virtual ~Coordinator() = default;

  virtual Term term() const = 0;
  // The runner of a job, made if need be; it lives as long as the coordinator.
  //   kResourceExhausted  too many jobs;  kDataLoss  its record is damaged
  virtual absl::StatusOr<JobRunner*> job(const std::string& name) = 0;
  // kFailedPrecondition, with the names there are, if there is no such job. An empty name means
  // the only one.
  virtual absl::StatusOr<JobRunner*> existing_job(const std::string& name) = 0;
  virtual std::vector<JobSummary> list_jobs() = 0;
};

}  // namespace spillway::coordinator
