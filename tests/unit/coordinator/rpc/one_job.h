// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "spillway/coordinator/coordinator.h"

namespace spillway::coordinator {

// A coordinator of a single job, whose record outlives it on a memory disk: what the doors of gRPC
// are tested with.
class OneJob final : public Coordinator
{
 public:
  OneJob(std::shared_ptr<MemoryDisk> disk, const RunnerOptions& options)
      : store_(open_memory_store(std::move(disk))), term_(*store_->begin_term())
  {
    runner_ = *JobRunner::open("mnist", options, {store_.get(), term_, &system_clock(), {}});
  }
  Term term() const override { return term_; }
  absl::StatusOr<JobRunner*> job(const std::string& name) override
  {
    if (name == "damaged") return absl::DataLossError("the record of job damaged is damaged");
    return runner_.get();
  }
  absl::StatusOr<JobRunner*> existing_job(const std::string& name) override
  {
    if (name.empty() || name == "mnist") return runner_.get();
    return absl::FailedPreconditionError("there is no such job; there is mnist");
  }
  std::vector<JobSummary> list_jobs() override { return {{"mnist", Lineage(7), Number(1), 2, ""}}; }

 private:
  std::unique_ptr<Store> store_;
  Term term_;
  std::unique_ptr<JobRunner> runner_;
};

}  // namespace spillway::coordinator
