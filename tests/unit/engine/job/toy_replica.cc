// SPDX-License-Identifier: Apache-2.0
#include "toy_replica.h"

#include <algorithm>

namespace spillway::testing {
namespace {

constexpr std::size_t kWeights = 64;

template <typename Container>
MutableByteSpan bytes_of(Container& values)
{
  return {reinterpret_cast<std::byte*>(values.data()), values.size() * sizeof(values[0])};
}

template <typename T>
absl::Span<T> values_of(MutableByteSpan bytes)
{
  return {reinterpret_cast<T*>(bytes.data()), bytes.size() / sizeof(T)};
}

}  // namespace

ToyReplica::ToyReplica(std::uint64_t samples, std::size_t ballast)
    : uses_(samples), weights_(kWeights + ballast), momentum_(kWeights)
{
  for (std::size_t i = 0; i < weights_.size(); ++i) weights_[i] = static_cast<float>(i % 17);
}

engine::StateTable ToyReplica::table()
{
  using engine::StateKind;
  engine::StateTable table;
  const auto add = [&](const char* name, const char* dtype, StateKind kind, auto& values) {
    const absl::Status status = table.add({.name = name,
                                           .dtype = dtype,
                                           .shape = {static_cast<std::int64_t>(values.size())},
                                           .kind = kind,
                                           .bytes = bytes_of(values)});
    if (!status.ok()) abort();
  };
  add("uses", "int64", StateKind::kParameter, uses_);
  add("weights", "float32", StateKind::kParameter, weights_);
  add("average", "float64", StateKind::kBuffer, average_);
  add("momentum", "float32", StateKind::kOptimizer, momentum_);
  add("steps", "int64", StateKind::kScalar, exported_steps_);
  return table;
}

std::vector<engine::BucketSpec> ToyReplica::bucket_specs() const
{
  return {{.type = comm::DType::kInt64, .count = uses_.size()},
          {.type = comm::DType::kFp32, .count = kWeights},
          {.type = comm::DType::kFp64, .count = 1}};
}

std::vector<engine::PositionRange> ToyReplica::compute(engine::Engine& engine,
                                                       const engine::StepPlan& plan)
{
  std::vector<engine::PositionRange> received;
  const auto uses = values_of<std::int64_t>(engine.bucket(0));
  const auto pull = values_of<float>(engine.bucket(1));
  std::fill(uses.begin(), uses.end(), 0);
  std::fill(pull.begin(), pull.end(), 0.0F);
  for (const auto& micro : plan.micro_batches)
  {
    average_[0] = -1e9;  // the loop's own mess, which an abort has to undo
    if (engine.step_aborted()) break;
    std::vector<std::int64_t> indices;
    for (const engine::PositionRange& range : micro)
      for (std::uint64_t position = range.begin; position < range.end; ++position)
        indices.push_back(static_cast<std::int64_t>(engine.data().index_at(range.part, position)));
    if (on_micro_batch) on_micro_batch(plan, indices);
    for (const std::int64_t sample : indices)
    {
      const auto index = static_cast<std::size_t>(sample);
      uses[index] += 1;
      pull[index % kWeights] += 0.25F * static_cast<float>(index % 31) - weights_[index % kWeights];
    }
    for (const engine::PositionRange& range : engine.data().positions_of(indices, micro))
      received.push_back(range);
  }
  engine.bucket_ready(0);
  engine.bucket_ready(1);
  if (!plan.lead) return received;  // what is not ready counts as zeros
  values_of<double>(engine.bucket(2))[0] = static_cast<double>(plan.name.step.value()) * 0.5;
  engine.bucket_ready(2);
  return received;
}

absl::Status ToyReplica::apply(const engine::StepTotals& totals,
                               absl::Span<engine::ReducedBucket> buckets)
{
  if (on_apply)
    if (const absl::Status status = on_apply(totals); !status.ok()) return status;
  ++steps_;
  average_[0] = values_of<double>(buckets[2].bytes)[0];
  if (totals.veto || totals.overflow) return absl::OkStatus();
  const auto uses = values_of<std::int64_t>(buckets[0].bytes);
  const auto pull = values_of<float>(buckets[1].bytes);
  for (std::size_t i = 0; i < uses.size(); ++i) uses_[i] += uses[i];
  for (std::size_t i = 0; i < kWeights; ++i)
  {
    momentum_[i] = 0.9F * momentum_[i] + pull[i] / static_cast<float>(totals.weight);
    weights_[i] += 0.1F * momentum_[i];
  }
  return absl::OkStatus();
}

absl::Status ToyReplica::export_state()
{
  exported_steps_[0] = steps_;
  return absl::OkStatus();
}

absl::Status ToyReplica::import_state()
{
  steps_ = exported_steps_[0];
  return absl::OkStatus();
}

}  // namespace spillway::testing
