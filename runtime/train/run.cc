// SPDX-License-Identifier: Apache-2.0
#include "spillway/train/run.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "run_state.h"

namespace spillway {

using internal::Phase;
using internal::RunState;

// ---------------------------------------------------------------- MicroBatch

const std::vector<std::int64_t>& MicroBatch::indices() const
{
  return run_->current_samples(false).indices;
}

const Samples& MicroBatch::samples() const
{
  return run_->current_samples(true);
}

std::size_t MicroBatch::number() const
{
  return run_->micro_index;
}

void MicroBatch::run_backward(const at::Tensor& loss_sum, double weight)
{
  run_->backward(loss_sum, weight);
}

// ---------------------------------------------------------------- Step

MicroBatch& Step::Iterator::operator*() const
{
  return run_->micro;
}

Step::Iterator& Step::Iterator::operator++()
{
  run_->leave_micro_batch();
  return *this;
}

bool Step::Iterator::operator==(std::default_sentinel_t) const
{
  return run_->micro_batches_ended();
}

Step::Iterator Step::begin()
{
  run_->begin_micro_batches();
  Iterator first;
  first.run_ = run_;
  return first;
}

std::uint64_t Step::number() const
{
  return run_->plan->name.step.value();
}

bool Step::is_last() const
{
  return run_->options.steps && number() == *run_->options.steps;
}

bool Step::redo() const
{
  return run_->plan->redo;
}

std::uint64_t Step::samples() const
{
  std::uint64_t count = 0;
  for (const engine::PositionRange& range : run_->plan->slice) count += range.size();
  return count;
}

void Step::veto()
{
  run_->veto();
}

StepResult Step::finish()
{
  return run_->finish();
}

double Step::loss() const
{
  return run_->totals.loss_sum / run_->totals.weight;
}

double Step::learning_rate(std::size_t optimizer) const
{
  return run_->replica->learning_rate(optimizer);
}

// ---------------------------------------------------------------- Run

Step& Run::Steps::Iterator::operator*() const
{
  return run_->step;
}

Run::Steps::Iterator& Run::Steps::Iterator::operator++()
{
  run_->next_step();
  return *this;
}

bool Run::Steps::Iterator::operator==(std::default_sentinel_t) const
{
  return !run_->plan;
}

Run::Steps::Iterator Run::Steps::begin()
{
  run_->next_step();
  Iterator first;
  first.run_ = run_;
  return first;
}

Run::Run(std::unique_ptr<RunState> state) : state_(std::move(state)) {}
Run::Run(Run&&) noexcept = default;
Run& Run::operator=(Run&&) noexcept = default;
Run::~Run() = default;

Run::Steps Run::steps()
{
  Steps steps;
  steps.run_ = state_.get();
  return steps;
}

void Run::request_stop()
{
  state_->engine->request_stop();
}

void Run::request_leave()
{
  state_->engine->request_leave();
}

bool Run::left() const
{
  return state_->engine->end_reason() == engine::EndReason::kLeft;
}

bool Run::all_reduce(at::Tensor& values)
{
  return state_->collective(internal::Replica::all_reduce(*state_->engine, values));
}

bool Run::all_reduce(double& value)
{
  double sum = value;
  const MutableByteSpan bytes(reinterpret_cast<std::byte*>(&sum), sizeof sum);
  if (!state_->collective(state_->engine->all_reduce(comm::DType::kFp64, bytes))) return false;
  value = sum;
  return true;
}

std::optional<std::vector<std::string>> Run::all_gather(const std::string& mine)
{
  auto all = state_->engine->all_gather(as_bytes(mine));
  if (!state_->collective(all.status())) return std::nullopt;
  return std::move(*all);
}

bool Run::shares_changed() const
{
  return state_->shares_changed;
}

std::optional<double> Run::sum_of_shares(
    const std::function<double(std::uint32_t rank, std::uint32_t size)>& share)
{
  do {
    double sum = share(rank(), size());
    if (all_reduce(sum)) return sum;
  } while (shares_changed());
  return std::nullopt;
}

std::optional<std::vector<std::string>> Run::gather_shares(
    const std::function<std::string(std::uint32_t rank, std::uint32_t size)>& share)
{
  do {
    if (auto all = all_gather(share(rank(), size()))) return all;
  } while (shares_changed());
  return std::nullopt;
}

bool Run::barrier()
{
  return state_->collective(state_->engine->barrier());
}

std::unique_ptr<engine::Engine::Busy> Run::busy(std::string label)
{
  return state_->engine->busy(std::move(label));
}

std::uint32_t Run::rank() const
{
  return state_->rank.value();
}

std::uint32_t Run::size() const
{
  return state_->members;
}

std::uint64_t Run::steps_per_pass() const
{
  return state_->engine->data().steps_per_pass();
}

engine::EngineStats Run::stats() const
{
  return state_->engine->stats();
}

const engine::DataPlan& Run::data() const
{
  return state_->engine->data();
}

}  // namespace spillway
