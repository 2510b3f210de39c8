// SPDX-License-Identifier: Apache-2.0
#include "replica.h"

#include <ATen/Context.h>
#include <ATen/Parallel.h>
#include <ATen/Version.h>
#include <torch/types.h>
#include <torch/version.h>

#include <cmath>
#include <utility>

#include "absl/strings/str_cat.h"
#include "buffers.h"
#include "exact.h"
#include "gradients.h"
#include "host_tensor.h"
#include "optimizer_update.h"
#include "spillway/base/log.h"
#include "spillway/base/status.h"
#include "state_parts.h"

namespace spillway::internal {
namespace {

// What the updates are computed from besides tensors. Changed only by apply; registered.
struct Scale
{
  double factor = 1;
  std::int64_t good_steps = 0;
};

class ReplicaImpl final : public Replica
{
 public:
  ReplicaImpl(const RunOptions& options, std::uint64_t global_batch)
      : options_(options), global_batch_(static_cast<double>(global_batch))
  {
    if (options_.loss_scaling) scale_.factor = options_.loss_scaling->initial;
  }
  absl::Status register_all(const TrainState::Parts& parts);

  engine::StateTable table() const override { return table_; }
  std::vector<engine::BucketSpec> bucket_specs() const override;
  std::uint64_t trained_parameters() const override { return gradients_->size(); }
  std::string arithmetic_class() const override;

  void begin_step(engine::Engine& engine) override;
  void begin_micro_batch(std::uint64_t seed) override { at::manual_seed(seed); }
  absl::StatusOr<double> backward(const at::Tensor& loss_sum, bool last) override;
  absl::StatusOr<absl::Span<const std::uint64_t>> complete(std::uint64_t samples,
                                                           bool lead) override;
  void abandon() override { gradients_->drop(); }
  bool update_skipped() const override { return skipped_; }
  std::optional<StepId> nan_step() const override { return nan_step_; }
  double learning_rate(std::size_t optimizer) const override
  {
    return optimizers_.at(optimizer)->learning_rate();
  }

  std::exception_ptr failure() const override { return failure_; }

  absl::Status apply(const engine::StepTotals& totals,
                     absl::Span<engine::ReducedBucket> buckets) override
  {
    return guarded([&] { apply_step(totals, buckets); });
  }
  absl::Status export_state() override
  {
    return guarded([this] { to_host(); });
  }
  absl::Status import_state() override
  {
    return guarded([this] { from_host(); });
  }

 private:
  absl::Status register_parameters(const TrainState::Parts& parts, KnownParameters& known);
  absl::Status register_options();
  absl::Status check_unchanged();
  bool decide(const engine::StepTotals& totals);
  template <typename Body>
  absl::Status guarded(Body body);
  void apply_step(const engine::StepTotals& totals, absl::Span<engine::ReducedBucket> buckets);
  void update(const engine::StepTotals& totals);
  void to_host();
  void from_host();
  void fall_back();
  void remember_good_step();

  RunOptions options_;
  double global_batch_;
  engine::StateTable table_;
  std::vector<HostTensor> parameters_;
  std::unique_ptr<Gradients> gradients_;
  Buffers buffers_;
  std::vector<HostTensor> tensors_;
  std::vector<std::unique_ptr<OptimizerUpdate>> optimizers_;
  Scale scale_;
  std::vector<std::function<void(const AppliedStep&)>> updates_;
  std::exception_ptr failure_;

  engine::Engine* engine_ = nullptr;
  at::Tensor seed_;  // what backward starts from, instead of 1
  double seed_factor_ = 0;
  bool skipped_ = false;
  std::optional<StepId> nan_step_;
};

absl::Status ReplicaImpl::register_parameters(const TrainState::Parts& parts,
                                              KnownParameters& known)
{
  std::vector<TrainState::Parts::NamedTensor> all;
  for (const auto& parameter : parts.parameters)
    // A tensor with several names, as of a shared module, is known by its first one.
    if (known.emplace(parameter.tensor.unsafeGetTensorImpl(), KnownParameter{parameter.name, {}})
            .second)
      all.push_back(parameter);
  std::map<const void*, std::size_t> owner;
  for (std::size_t o = 0; o < parts.optimizers.size(); ++o)
  {
    std::size_t index = 0;
    for (const auto& group : parts.optimizers[o].optimizer->param_groups())
      for (const at::Tensor& tensor : group.params())
      {
        const void* id = tensor.unsafeGetTensorImpl();
        const std::string name = absl::StrCat("optimizer", o, ".parameter", index++);
        if (known.emplace(id, KnownParameter{name, {}}).second) all.push_back({name, tensor});
        const auto [owned, is_new] = owner.emplace(id, o);
        if (!is_new && owned->second == o)
          return absl::InvalidArgumentError(absl::StrCat(
              "parameter ", known[id].name, " is in optimizer ", o,
              " twice, as the parameters of a shared module are listed under each of its names: "
              "it would be updated twice a step. Give the optimizer each tensor once"));
        if (!is_new)
          return absl::InvalidArgumentError(absl::StrCat("parameter ", known[id].name,
                                                         " belongs to optimizers ", owned->second,
                                                         " and ", o, "; it can be updated by one"));
      }
  }
  std::vector<Gradients::Parameter> trained;
  for (auto& [name, tensor] : all)
  {
    const auto type = reduction_type(tensor.scalar_type());
    const bool is_trained = tensor.requires_grad() && tensor.numel() > 0 &&
                            owner.contains(tensor.unsafeGetTensorImpl());
    if (is_trained && (!type || !tensor.is_floating_point()))
      return absl::InvalidArgumentError(absl::StrCat("parameter ", name, " is of type ",
                                                     type_name(tensor),
                                                     "; gradients are reduced in float, double, "
                                                     "bfloat16 and half"));
    parameters_.emplace_back(tensor, options_.stage_through_host);
    SPILLWAY_RETURN_IF_ERROR(
        table_.add(parameters_.back().entry(name, engine::StateKind::kParameter)));
    if (!is_trained) continue;
    known[tensor.unsafeGetTensorImpl()].trained = trained.size();
    trained.push_back({name, tensor});
  }
  if (trained.empty())
    return absl::InvalidArgumentError(
        "there is nothing to train: no parameter of an optimizer requires a gradient");
  gradients_ = std::make_unique<Gradients>(std::move(trained), options_);
  return absl::OkStatus();
}

absl::Status ReplicaImpl::register_all(const TrainState::Parts& parts)
{
  KnownParameters known;
  SPILLWAY_RETURN_IF_ERROR(register_parameters(parts, known));
  for (const auto& buffer : parts.buffers)
    SPILLWAY_RETURN_IF_ERROR(buffers_.add(buffer.name, buffer.tensor, options_.stage_through_host));
  SPILLWAY_RETURN_IF_ERROR(buffers_.add_state(table_));
  for (std::size_t o = 0; o < parts.optimizers.size(); ++o)
  {
    auto update = OptimizerUpdate::create(o, *parts.optimizers[o].optimizer,
                                          parts.optimizers[o].schedule, known, options_);
    if (!update.ok()) return update.status();
    SPILLWAY_RETURN_IF_ERROR((*update)->add_state(table_));
    optimizers_.push_back(std::move(*update));
  }
  for (const auto& [name, tensor] : parts.tensors)
  {
    tensors_.emplace_back(tensor, options_.stage_through_host);
    SPILLWAY_RETURN_IF_ERROR(
        table_.add(tensors_.back().entry(absl::StrCat("user.", name), engine::StateKind::kBuffer)));
  }
  for (const auto& scalar : parts.scalars)
  {
    engine::StateEntry entry;
    entry.name = absl::StrCat("user.", scalar.name);
    entry.dtype = scalar.type;
    entry.kind = engine::StateKind::kScalar;
    entry.bytes = scalar.bytes;
    SPILLWAY_RETURN_IF_ERROR(table_.add(std::move(entry)));
  }
  updates_ = parts.updates;
  return register_options();
}

// Its line in the layout compares what else must be equal everywhere.
absl::Status ReplicaImpl::register_options()
{
  engine::StateEntry entry;
  entry.name = "loss_scale";
  entry.dtype = absl::StrCat("clip_norm ", exact(options_.clip_norm), " stop_on_nan ",
                             options_.on_nan == OnNan::kStop);
  if (options_.loss_scaling)
    absl::StrAppend(&entry.dtype, " growth ", exact(options_.loss_scaling->growth), " backoff ",
                    exact(options_.loss_scaling->backoff), " interval ",
                    options_.loss_scaling->growth_interval);
  entry.kind = engine::StateKind::kOptimizer;
  entry.bytes = {reinterpret_cast<std::byte*>(&scale_), sizeof scale_};
  return table_.add(std::move(entry));
}

std::vector<engine::BucketSpec> ReplicaImpl::bucket_specs() const
{
  std::vector<engine::BucketSpec> specs = gradients_->bucket_specs();
  for (const engine::BucketSpec& spec : buffers_.bucket_specs()) specs.push_back(spec);
  return specs;
}

std::string ReplicaImpl::arithmetic_class() const
{
  const auto device = parameters_.front().live().device();
  std::string text = c10::DeviceTypeName(device.type(), /*lower_case=*/true);
  return absl::StrCat(text, ", ", at::get_cpu_capability(), ", ", at::get_num_threads(),
                      " threads, libtorch ", TORCH_VERSION);
}

void ReplicaImpl::begin_step(engine::Engine& engine)
{
  engine_ = &engine;
  gradients_->begin(engine);
}

// A program can reach all that is registered. What would go into buckets and state as if nothing
// had happened is looked for before it does.
absl::Status ReplicaImpl::check_unchanged()
{
  for (std::size_t i = 0; i < parameters_.size(); ++i)
    if (parameters_[i].replaced()) return replaced_error("parameter", table_.entries()[i].name);
  SPILLWAY_RETURN_IF_ERROR(buffers_.check_unchanged());
  return gradients_->check_local();
}

absl::StatusOr<double> ReplicaImpl::backward(const at::Tensor& loss_sum, bool last)
{
  if (!loss_sum.defined() || loss_sum.numel() != 1)
    return absl::InvalidArgumentError(
        "micro.backward() takes one number, the sum of the losses of the micro-batch");
  if (!loss_sum.requires_grad())
    return absl::InvalidArgumentError(
        "the loss does not depend on any parameter that requires a gradient");
  // Gradients come out as means over the global batch, up to the weights: one pass less over them,
  // and sums of bf16 stay in range.
  const double factor = scale_.factor / global_batch_;
  if (!seed_.defined() || seed_factor_ != factor || seed_.scalar_type() != loss_sum.scalar_type() ||
      seed_.sizes() != loss_sum.sizes() || seed_.device() != loss_sum.device())
  {
    seed_ = at::full(loss_sum.sizes(), factor, loss_sum.options().requires_grad(false));
    seed_factor_ = factor;
  }
  SPILLWAY_RETURN_IF_ERROR(check_unchanged());
  if (last) gradients_->arm();
  loss_sum.backward(seed_);
  if (last) SPILLWAY_RETURN_IF_ERROR(gradients_->disarm());
  gradients_->note_local();
  return loss_sum.item<double>();
}

absl::StatusOr<absl::Span<const std::uint64_t>> ReplicaImpl::complete(std::uint64_t samples,
                                                                      bool lead)
{
  SPILLWAY_RETURN_IF_ERROR(check_unchanged());
  for (const auto& optimizer : optimizers_) SPILLWAY_RETURN_IF_ERROR(optimizer->check_unchanged());
  SPILLWAY_RETURN_IF_ERROR(gradients_->complete());
  buffers_.contribute(*engine_, gradients_->bucket_count(),
                      static_cast<double>(samples) / global_batch_, lead);
  return gradients_->used();
}

void ReplicaImpl::fall_back()
{
  scale_.factor = std::max(1.0, scale_.factor * options_.loss_scaling->backoff);
  scale_.good_steps = 0;
}

void ReplicaImpl::remember_good_step()
{
  if (++scale_.good_steps < options_.loss_scaling->growth_interval) return;
  scale_.factor *= options_.loss_scaling->growth;
  scale_.good_steps = 0;
}

// Whether the update is done, from reduced values only, so that all decide alike; and if so, brings
// the gradients to the mean, clipped.
bool ReplicaImpl::decide(const engine::StepTotals& totals)
{
  if (totals.overflow && options_.loss_scaling) fall_back();
  const bool is_nan = !std::isfinite(totals.loss_sum);
  if (is_nan && !nan_step_) nan_step_ = totals.name.step;
  if (is_nan && options_.on_nan == OnNan::kStop) return false;
  if (totals.veto || totals.overflow || !(totals.weight > 0)) return false;
  double factor = global_batch_ / (totals.weight * scale_.factor);
  if (options_.clip_norm > 0 || options_.loss_scaling)
  {
    const double norm = std::sqrt(gradients_->sum_of_squares()) * factor;
    if (options_.loss_scaling && !std::isfinite(norm))
    {
      fall_back();
      return false;
    }
    if (options_.clip_norm > 0 && norm > options_.clip_norm)
      factor *= options_.clip_norm / (norm + 1e-6);
  }
  if (factor != 1) gradients_->scale(factor);
  return true;
}

template <typename Body>
absl::Status ReplicaImpl::guarded(Body body)
{
  try
  {
    body();
    return absl::OkStatus();
  }
  catch (const std::exception& error)
  {
    failure_ = std::current_exception();
    return absl::InternalError(error.what());
  }
  catch (...)
  {
    failure_ = std::current_exception();
    return absl::InternalError("something that is no std::exception was thrown");
  }
}

void ReplicaImpl::apply_step(const engine::StepTotals& totals,
                             absl::Span<engine::ReducedBucket> buckets)
{
  gradients_->take_reduced(buckets, totals.used_parameters);
  buffers_.take_reduced(buckets.subspan(gradients_->bucket_count()),
                        global_batch_ / static_cast<double>(totals.samples));
  skipped_ = !decide(totals);
  if (!skipped_) update(totals);
  AppliedStep step;
  step.number = totals.name.step.value();
  step.loss = totals.loss_sum / totals.weight;
  step.samples = totals.samples;
  step.skipped = skipped_;
  for (const auto& own : updates_) own(step);
  buffers_.remember();
  // After all that may have changed them.
  for (const auto& optimizer : optimizers_) optimizer->to_host();
  for (HostTensor& parameter : parameters_) parameter.to_host();
}

void ReplicaImpl::update(const engine::StepTotals& totals)
{
  for (const auto& optimizer : optimizers_) optimizer->apply(totals.name.step.value(), *gradients_);
  if (options_.loss_scaling) remember_good_step();
}

void ReplicaImpl::to_host()
{
  buffers_.to_host();
  for (HostTensor& tensor : tensors_) tensor.to_host();
}

void ReplicaImpl::from_host()
{
  for (HostTensor& parameter : parameters_) parameter.from_host();
  for (const auto& optimizer : optimizers_) optimizer->from_host();
  buffers_.from_host();
  for (HostTensor& tensor : tensors_) tensor.from_host();
}

}  // namespace

absl::StatusOr<std::unique_ptr<Replica>> Replica::create(const TrainState& state,
                                                         const RunOptions& options,
                                                         std::uint64_t global_batch)
{
  auto replica = std::make_unique<ReplicaImpl>(options, global_batch);
  SPILLWAY_RETURN_IF_ERROR(replica->register_all(state.parts()));
  return replica;
}

absl::Status Replica::all_reduce(engine::Engine& engine, at::Tensor& values)
{
  const auto type =
      values.defined() ? reduction_type(values.scalar_type()) : std::optional<comm::DType>();
  if (!type)
    return absl::InvalidArgumentError(
        "run.all_reduce() sums tensors of float, double, bfloat16, half, int32 and int64");
  at::NoGradGuard no_grad;
  at::Tensor host = values.detach().to(at::kCPU).contiguous();
  if (host.is_alias_of(values)) host = host.clone();  // an aborted sum leaves the input as it was
  const MutableByteSpan bytes(static_cast<std::byte*>(host.data_ptr()), host.nbytes());
  SPILLWAY_RETURN_IF_ERROR(engine.all_reduce(*type, bytes));
  values.copy_(host);
  return absl::OkStatus();
}

}  // namespace spillway::internal
