// SPDX-License-Identifier: Apache-2.0
#include "gradients.h"

#include <torch/csrc/autograd/function_hook.h>
#include <torch/csrc/autograd/variable.h>

#include <algorithm>
#include <cstring>
#include <map>
#include <memory>
#include <utility>

#include "absl/strings/str_cat.h"
#include "gradient_math.h"
#include "host_tensor.h"
#include "spillway/base/check.h"

namespace spillway::internal {

// Called by autograd when a parameter's gradient of one backward is complete.
class Gradients::Hook : public torch::autograd::PostAccumulateGradHook
{
 public:
  Hook(Gradients& owner, std::size_t index) : owner_(owner), index_(index) {}
  void operator()(const at::Tensor&) override
  {
    if (owner_.armed_) owner_.arrive(index_);
  }

 private:
  Gradients& owner_;
  std::size_t index_;
};

Gradients::Gradients(std::vector<Parameter> parameters, const RunOptions& options)
{
  for (Parameter& parameter : parameters)
  {
    Slot slot;
    slot.name = std::move(parameter.name);
    slot.tensor = std::move(parameter.tensor);
    slot.bytes = slot.tensor.nbytes();
    slot.plain = slot.tensor.device().is_cpu() && slot.tensor.is_non_overlapping_and_dense();
    slots_.push_back(std::move(slot));
  }
  lay_out(options);
  bitmap_.resize((slots_.size() + 63) / 64);
  for (std::size_t i = 0; i < slots_.size(); ++i)
    torch::autograd::impl::set_post_acc_grad_hooks(slots_[i].tensor,
                                                   std::make_unique<Hook>(*this, i));
}

Gradients::~Gradients()
{
  for (Slot& slot : slots_) torch::autograd::impl::set_post_acc_grad_hooks(slot.tensor, nullptr);
}

// Backward produces gradients from the last layer to the first, so buckets are filled from the last
// parameter on. A bucket has one element type, and is closed by the parameter that fills it.
void Gradients::lay_out(const RunOptions& options)
{
  std::map<comm::DType, std::size_t> open;
  for (std::size_t i = slots_.size(); i-- > 0;)
  {
    Slot& slot = slots_[i];
    const comm::DType type = *reduction_type(slot.tensor.scalar_type());
    auto found = open.find(type);
    if (found == open.end())
    {
      found = open.emplace(type, buckets_.size()).first;
      buckets_.emplace_back().type = type;
    }
    Bucket& bucket = buckets_[found->second];
    slot.bucket = found->second;
    slot.offset = bucket.count * comm::size_bytes(type);
    bucket.count += static_cast<std::uint64_t>(slot.tensor.numel());
    bucket.slots.push_back(i);
    const std::uint64_t limit =
        found->second == 0 ? options.first_bucket_bytes : options.bucket_bytes;
    if (bucket.count * comm::size_bytes(type) >= limit) open.erase(found);
  }
}

std::vector<engine::BucketSpec> Gradients::bucket_specs() const
{
  std::vector<engine::BucketSpec> specs;
  for (const Bucket& bucket : buckets_) specs.push_back({bucket.type, bucket.count});
  return specs;
}

void Gradients::begin(engine::Engine& engine)
{
  engine_ = &engine;
  armed_ = false;
  failure_ = absl::OkStatus();
  for (std::size_t b = 0; b < buckets_.size(); ++b)
  {
    Bucket& bucket = buckets_[b];
    bucket.bytes = engine.bucket(b);
    bucket.missing.store(bucket.slots.size(), std::memory_order_relaxed);
    bucket.handed_in = false;
  }
  for (Slot& slot : slots_)
  {
    slot.arrived = false;
    slot.used = false;
    slot.local = nullptr;
    if (slot.tensor.grad().defined()) slot.tensor.mutable_grad().reset();
  }
}

absl::Status Gradients::check_local()
{
  for (Slot& slot : slots_)
  {
    const at::Tensor& found = slot.tensor.grad();
    const void* id = found.defined() ? found.unsafeGetTensorImpl() : nullptr;
    if (id == slot.local && (id == nullptr || found._version() == slot.local_version)) continue;
    // Zeros where there was nothing: cleared by the program after a backward of its own.
    if (slot.local == nullptr && !found.is_sparse() && found.count_nonzero().item<int64_t>() == 0)
    {
      slot.tensor.mutable_grad().reset();
      continue;
    }
    return absl::FailedPreconditionError(absl::StrCat(
        "the gradient of parameter ", slot.name,
        " was changed between micro-batches, by zero_grad() or by a backward of the program's own. "
        "It adds up what this step has computed: leave it alone, the runtime clears it, and give "
        "all losses to micro.backward()"));
  }
  return absl::OkStatus();
}

void Gradients::note_local()
{
  for (Slot& slot : slots_)
  {
    const at::Tensor& found = slot.tensor.grad();
    slot.local = found.defined() ? found.unsafeGetTensorImpl() : nullptr;
    slot.local_version = found.defined() ? found._version() : 0;
  }
}

// On the thread that runs backward: the caller's for host memory, another one for each device.
void Gradients::arrive(std::size_t i)
{
  Slot& slot = slots_[i];
  if (slot.arrived)
  {
    failure_ = absl::InvalidArgumentError(absl::StrCat(
        "parameter ", slot.name,
        " got its gradient in several pieces: a backward within backward, as in checkpoints of "
        "activations, hands in the first one as if it were whole. Use the parameter in one of "
        "them only"));
    return;
  }
  at::Tensor& gradient = slot.tensor.mutable_grad();
  if (!gradient.defined()) return;
  if (gradient.layout() != at::kStrided)
  {
    failure_ =
        absl::InvalidArgumentError(absl::StrCat("parameter ", slot.name,
                                                " got a sparse gradient, which cannot be reduced: "
                                                "build the embedding with sparse(false)"));
    return;
  }
  write(slot, gradient);
  // Its memory is still warm for what backward allocates next.
  gradient.reset();
  slot.local = nullptr;
  slot.arrived = true;
  slot.used = true;
  Bucket& bucket = buckets_[slot.bucket];
  if (bucket.missing.fetch_sub(1, std::memory_order_acq_rel) == 1) hand_in(slot.bucket);
}

void Gradients::write(Slot& slot, const at::Tensor& gradient)
{
  std::byte* target = buckets_[slot.bucket].bytes.data() + slot.offset;
  if (slot.plain && gradient.device().is_cpu() &&
      gradient.scalar_type() == slot.tensor.scalar_type() &&
      gradient.strides() == slot.tensor.strides())
  {
    if (slot.bytes > 0) std::memcpy(target, gradient.const_data_ptr(), slot.bytes);
    return;
  }
  at::NoGradGuard no_grad;
  const bool dense = slot.tensor.is_non_overlapping_and_dense();
  at::Tensor whole =
      dense ? view_of(target, slot.tensor.sizes(), slot.tensor.strides(), slot.tensor.scalar_type())
            : flat_view({target, slot.bytes}, slot.tensor.scalar_type()).view(slot.tensor.sizes());
  whole.copy_(gradient);
}

void Gradients::hand_in(std::size_t bucket)
{
  buckets_[bucket].handed_in = true;
  engine_->bucket_ready(bucket);
}

absl::Status Gradients::disarm()
{
  armed_ = false;
  return failure_;
}

absl::Status Gradients::complete()
{
  for (std::size_t b = 0; b < buckets_.size(); ++b)
  {
    Bucket& bucket = buckets_[b];
    if (bucket.handed_in) continue;
    for (const std::size_t i : bucket.slots)
    {
      // Used by an earlier micro-batch only: its gradient is whole, but no hook said so.
      if (!slots_[i].arrived) arrive(i);
      if (!failure_.ok()) return failure_;
      Slot& slot = slots_[i];
      if (!slot.arrived && slot.bytes > 0)
        std::memset(bucket.bytes.data() + slot.offset, 0, slot.bytes);
    }
    if (!bucket.handed_in) hand_in(b);
  }
  return absl::OkStatus();
}

absl::Span<const std::uint64_t> Gradients::used()
{
  std::fill(bitmap_.begin(), bitmap_.end(), 0);
  bool all = true;
  for (std::size_t i = 0; i < slots_.size(); ++i)
    if (slots_[i].used)
      bitmap_[i / 64] |= std::uint64_t{1} << (i % 64);
    else
      all = false;
  return all ? absl::Span<const std::uint64_t>() : bitmap_;
}

void Gradients::drop()
{
  armed_ = false;
  for (Slot& slot : slots_)
    if (slot.tensor.grad().defined()) slot.tensor.mutable_grad().reset();
}

void Gradients::take_reduced(absl::Span<engine::ReducedBucket> buckets,
                             absl::Span<const std::uint64_t> used)
{
  SPILLWAY_CHECK(buckets.size() >= buckets_.size(), buckets.size(), " reduced buckets of ",
                 buckets_.size());
  for (std::size_t b = 0; b < buckets_.size(); ++b) buckets_[b].reduced = buckets[b].bytes;
  for (std::size_t i = 0; i < slots_.size(); ++i)
  {
    Slot& slot = slots_[i];
    const bool anybody = used.empty() || (used[i / 64] >> (i % 64) & 1) != 0;
    if (!anybody)
    {
      slot.result.reset();
      continue;
    }
    std::byte* data = buckets_[slot.bucket].reduced.data() + slot.offset;
    if (data != slot.view_data)
    {
      const bool dense = slot.tensor.is_non_overlapping_and_dense();
      slot.view =
          dense
              ? view_of(data, slot.tensor.sizes(), slot.tensor.strides(), slot.tensor.scalar_type())
              : flat_view({data, slot.bytes}, slot.tensor.scalar_type()).view(slot.tensor.sizes());
      slot.view_data = data;
    }
    if (slot.tensor.device().is_cpu())
      slot.result = slot.view;
    else if (slot.view.numel() > 0)
      slot.result = slot.view.to(slot.tensor.device());
  }
}

double Gradients::sum_of_squares() const
{
  double total = 0;
  for (const Bucket& bucket : buckets_)
  {
    const auto data = bucket.reduced.data();
    if (bucket.type == comm::DType::kFp32)
      total += internal::sum_of_squares(
          absl::Span<const float>(reinterpret_cast<const float*>(data), bucket.count));
    else if (bucket.type == comm::DType::kFp64)
      total += internal::sum_of_squares(
          absl::Span<const double>(reinterpret_cast<const double*>(data), bucket.count));
    else
      // Squares of bf16 may be beyond fp32.
      total += flat_view(bucket.reduced, tensor_type(bucket.type))
                   .to(at::kDouble)
                   .square_()
                   .sum()
                   .item<double>();
  }
  return total;
}

void Gradients::scale(double factor)
{
  for (Bucket& bucket : buckets_)
  {
    const auto data = bucket.reduced.data();
    if (bucket.type == comm::DType::kFp32)
      internal::scale(absl::Span<float>(reinterpret_cast<float*>(data), bucket.count), factor);
    else if (bucket.type == comm::DType::kFp64)
      internal::scale(absl::Span<double>(reinterpret_cast<double*>(data), bucket.count), factor);
    else
    {
      // mul_() in a narrow type would round the factor to it first: 1e-8 to 0 in fp16.
      at::Tensor narrow = flat_view(bucket.reduced, tensor_type(bucket.type));
      narrow.copy_(narrow.to(at::kFloat).mul_(factor));
    }
  }
}

}  // namespace spillway::internal
