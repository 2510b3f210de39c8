// SPDX-License-Identifier: Apache-2.0
#include "spillway/coordinator/coordinator.h"

#include <map>
#include <mutex>

#include "absl/strings/str_join.h"
#include "spillway/base/log.h"
#include "spillway/base/status.h"

namespace spillway::coordinator {
namespace {

constexpr std::size_t kJobNameBytesMax = 256;

// A store is used by one thread at a time; the runners of many jobs are many threads.
class SharedStore final : public Store
{
 public:
  explicit SharedStore(std::unique_ptr<Store> store)
      : store_(std::move(store)), description_(store_->description())
  {
  }
  absl::StatusOr<Term> begin_term() override
  {
    const std::lock_guard lock(mutex_);
    return store_->begin_term();
  }
  absl::Status write(Term term, const std::string& job, absl::string_view record) override
  {
    const std::lock_guard lock(mutex_);
    return store_->write(term, job, record);
  }
  absl::Status erase(Term term, const std::string& job) override
  {
    const std::lock_guard lock(mutex_);
    return store_->erase(term, job);
  }
  absl::StatusOr<std::optional<std::string>> load(const std::string& job) override
  {
    const std::lock_guard lock(mutex_);
    return store_->load(job);
  }
  absl::StatusOr<std::vector<std::string>> list_jobs() override
  {
    const std::lock_guard lock(mutex_);
    return store_->list_jobs();
  }
  std::string description() const override { return description_; }

 private:
  std::mutex mutex_;
  const std::unique_ptr<Store> store_;
  const std::string description_;
};

class ManyJobs final : public Coordinator
{
 public:
  ManyJobs(std::unique_ptr<Store> store, Term term, const CoordinatorOptions& options,
           const Clock& clock, std::function<void(const absl::Status&)> on_deposed)
      : store_(std::move(store)),
        term_(term),
        options_(options),
        clock_(clock),
        on_deposed_(std::move(on_deposed))
  {
  }
  Term term() const override { return term_; }
  absl::StatusOr<JobRunner*> job(const std::string& name) override;
  absl::StatusOr<JobRunner*> existing_job(const std::string& name) override;
  std::vector<JobSummary> list_jobs() override;
  // Makes the runners of all jobs that the store knows.
  absl::Status open_stored_jobs();

 private:
  absl::StatusOr<JobRunner*> open_job(const std::string& name);
  void deposed(const absl::Status& why);

  SharedStore store_;
  const Term term_;
  const CoordinatorOptions options_;
  const Clock& clock_;
  std::function<void(const absl::Status&)> on_deposed_;
  std::once_flag told_;
  std::mutex mutex_;
  std::map<std::string, absl::Status> damaged_;
  // Last, so that their threads end before what they use.
  std::map<std::string, std::unique_ptr<JobRunner>> jobs_;
};

void ManyJobs::deposed(const absl::Status& why)
{
  std::call_once(told_, [&] {
    if (on_deposed_) on_deposed_(why);
  });
}

absl::StatusOr<JobRunner*> ManyJobs::open_job(const std::string& name)
{
  if (const auto at = jobs_.find(name); at != jobs_.end()) return at->second.get();
  if (jobs_.size() >= options_.jobs_max)
    return absl::ResourceExhaustedError(
        absl::StrCat("job ", name, ": this coordinator serves ", options_.jobs_max,
                     " jobs already; use another one or raise its limit"));
  const JobRunner::Services services{&store_, term_, &clock_,
                                     [this](const absl::Status& why) { deposed(why); }};
  SPILLWAY_ASSIGN_OR_RETURN(auto runner, JobRunner::open(name, options_.runner, services));
  return (jobs_[name] = std::move(runner)).get();
}

absl::Status ManyJobs::open_stored_jobs()
{
  const std::lock_guard lock(mutex_);
  SPILLWAY_ASSIGN_OR_RETURN(const std::vector<std::string> names, store_.list_jobs());
  for (const std::string& name : names)
    if (const auto runner = open_job(name); !runner.ok())
    {
      // The others go on; whoever asks for this one hears why it cannot.
      log_error(runner.status().message());
      damaged_[name] = runner.status();
    }
  return absl::OkStatus();
}

absl::StatusOr<JobRunner*> ManyJobs::job(const std::string& name)
{
  if (name.empty() || name.size() > kJobNameBytesMax)
    return absl::InvalidArgumentError(
        absl::StrCat("a job's name has 1 to ", kJobNameBytesMax, " bytes; see --rdzv-id"));
  const std::lock_guard lock(mutex_);
  if (const auto at = damaged_.find(name); at != damaged_.end()) return at->second;
  return open_job(name);
}

absl::StatusOr<JobRunner*> ManyJobs::existing_job(const std::string& name)
{
  const std::lock_guard lock(mutex_);
  if (const auto at = damaged_.find(name); at != damaged_.end()) return at->second;
  if (const auto at = jobs_.find(name); at != jobs_.end()) return at->second.get();
  if (name.empty() && jobs_.size() == 1) return jobs_.begin()->second.get();
  std::vector<std::string> names;
  for (const auto& [known, runner] : jobs_) names.push_back(known);
  const std::string there = names.empty() ? "there are no jobs here"
                                          : absl::StrCat("jobs here: ", absl::StrJoin(names, ", "));
  return absl::FailedPreconditionError(name.empty()
                                           ? absl::StrCat("name a job with --rdzv-id; ", there)
                                           : absl::StrCat("there is no job '", name, "'; ", there));
}

std::vector<JobSummary> ManyJobs::list_jobs()
{
  std::vector<std::pair<std::string, JobRunner*>> runners;
  std::vector<JobSummary> out;
  {
    const std::lock_guard lock(mutex_);
    for (const auto& [name, runner] : jobs_) runners.emplace_back(name, runner.get());
    for (const auto& [name, why] : damaged_)
      out.push_back({.job = name,
                     .lineage = {},
                     .epoch = {},
                     .members = 0,
                     .ended = std::string(why.message())});
  }
  for (const auto& [name, runner] : runners)
  {
    JobSummary summary{.job = name, .lineage = {}, .epoch = {}, .members = 0, .ended = {}};
    if (const auto report = runner->report(std::chrono::seconds(1)); report.ok())
    {
      summary.lineage = report->lineage;
      summary.epoch = report->epoch;
      summary.ended = report->ended;
      for (const auto& member : report->members) summary.members += member.in_epoch ? 1 : 0;
    }
    out.push_back(std::move(summary));
  }
  return out;
}

}  // namespace

absl::StatusOr<std::unique_ptr<Coordinator>> Coordinator::open(
    std::unique_ptr<Store> store, const CoordinatorOptions& options, const Clock& clock,
    std::function<void(const absl::Status&)> on_deposed)
{
  SPILLWAY_ASSIGN_OR_RETURN(const Term term, store->begin_term());
  auto coordinator =
      std::make_unique<ManyJobs>(std::move(store), term, options, clock, std::move(on_deposed));
  SPILLWAY_RETURN_IF_ERROR(coordinator->open_stored_jobs());
  return coordinator;
}

}  // namespace spillway::coordinator
