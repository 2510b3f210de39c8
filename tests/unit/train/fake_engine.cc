// SPDX-License-Identifier: Apache-2.0
#include "fake_engine.h"

#include "absl/strings/str_cat.h"
#include "spillway/comm/types.h"

namespace spillway::testing {

EngineFactory FakeJob::factory()
{
  return
      [this](
          engine::EngineOptions wanted, engine::StateTable registered,
          std::vector<engine::BucketSpec> buckets,
          engine::ReplicaCallbacks& callbacks) -> absl::StatusOr<std::unique_ptr<engine::Engine>> {
        options = std::move(wanted);
        table = std::move(registered);
        specs = std::move(buckets);
        replica = &callbacks;
        auto data = engine::DataPlan::create(options.data);
        if (!data.ok()) return data.status();
        auto made = std::make_unique<FakeEngine>(*this, *std::move(data));
        engine = made.get();
        return made;
      };
}

MutableByteSpan FakeJob::state(const std::string& name) const
{
  for (const engine::StateEntry& entry : table.entries())
    if (entry.name == name) return entry.bytes;
  return {};
}

FakeEngine::FakeEngine(FakeJob& job, engine::DataPlan data) : job_(job), data_(std::move(data))
{
  // Not zeroed, as the real one's are not.
  for (const engine::BucketSpec& spec : job_.specs)
    buckets_.emplace_back(spec.count * comm::size_bytes(spec.type), std::byte{0x7f});
}

absl::StatusOr<std::optional<engine::StepPlan>> FakeEngine::begin_step()
{
  if (open_) return absl::FailedPreconditionError("begin_step() without finish_step()");
  if (step_ == 0) step_ = job_.first_step;
  const bool over = job_.options.last_step && step_ > job_.options.last_step->value();
  if (over || stop_ || leave_)
  {
    end_ = over    ? engine::EndReason::kLastStep
           : stop_ ? engine::EndReason::kStopped
                   : engine::EndReason::kLeft;
    return std::nullopt;
  }
  if (absl::Status status = job_.replica->export_state(); !status.ok()) return status;
  open_ = true;
  aborted_ = false;
  ready_.assign(buckets_.size(), false);
  engine::StepPlan plan;
  plan.name.step = StepId(step_);
  plan.name.job_epoch = Number(1);
  plan.slice = data_.slice(StepId(step_), job_.share_begin,
                           job_.share_end == 0 ? data_.options().global_batch : job_.share_end);
  plan.micro_batches = data_.micro_batches(plan.slice);
  plan.redo = redo_;
  plan.lead = job_.lead;
  return plan;
}

MutableByteSpan FakeEngine::bucket(std::size_t index)
{
  return {buckets_[index].data(), buckets_[index].size()};
}

void FakeEngine::bucket_ready(std::size_t index)
{
  job_.calls.push_back(absl::StrCat("ready ", index));
  ready_[index] = true;
  std::size_t count = 0;
  for (const bool ready : ready_) count += ready ? 1 : 0;
  if (step_ == job_.abort_step && !redo_ && count >= job_.abort_after_ready) aborted_ = true;
}

absl::StatusOr<engine::StepOutcome> FakeEngine::finish_step(
    const engine::StepContribution& contribution)
{
  job_.calls.push_back("finish");
  open_ = false;
  engine::StepOutcome outcome;
  redo_ = aborted_;
  if (aborted_)
  {
    if (absl::Status status = job_.replica->import_state(); !status.ok()) return status;
    return outcome;
  }
  job_.contribution = contribution;
  job_.received = contribution.received;
  job_.used.assign(contribution.used_parameters.begin(), contribution.used_parameters.end());
  auto sums = buckets_;
  for (std::size_t b = 0; b < sums.size(); ++b)
    if (!ready_[b]) std::fill(sums[b].begin(), sums[b].end(), std::byte{0});
  engine::StepTotals& totals = outcome.totals;
  totals.name.step = StepId(step_);
  totals.weight = contribution.weight;
  totals.loss_sum = contribution.loss_sum;
  totals.samples = contribution.samples;
  totals.veto = contribution.veto;
  totals.overflow = contribution.overflow;
  totals.used_parameters = job_.used;
  totals.members = 1;
  if (job_.others) job_.others(totals, sums);
  std::vector<engine::ReducedBucket> reduced;
  for (std::size_t b = 0; b < sums.size(); ++b)
    reduced.push_back({job_.specs[b].type, {sums[b].data(), sums[b].size()}});
  absl::Status status = job_.replica->apply(totals, absl::MakeSpan(reduced));
  if (!status.ok()) return status;
  ++step_;
  outcome.result =
      totals.veto || totals.overflow ? engine::StepResult::kSkipped : engine::StepResult::kApplied;
  return outcome;
}

absl::Status FakeEngine::all_reduce(comm::DType type, MutableByteSpan values)
{
  job_.calls.push_back(absl::StrCat("all_reduce ", comm::name_of(type), " ", values.size()));
  return job_.collective;
}

absl::StatusOr<std::vector<std::string>> FakeEngine::all_gather(ByteSpan mine)
{
  if (!job_.collective.ok()) return job_.collective;
  return std::vector<std::string>{
      std::string(reinterpret_cast<const char*>(mine.data()), mine.size())};
}

}  // namespace spillway::testing
