// SPDX-License-Identifier: Apache-2.0
#include "buffers.h"

#include <utility>

#include "absl/strings/str_cat.h"

namespace spillway::internal {
namespace {

// In which type a buffer is reduced: narrow ones in a wider one.
std::optional<comm::DType> bucket_type(const at::Tensor& tensor)
{
  if (tensor.scalar_type() == at::kDouble) return comm::DType::kFp64;
  if (tensor.is_floating_point()) return comm::DType::kFp32;
  if (at::isIntegralType(tensor.scalar_type(), /*includeBool=*/true)) return comm::DType::kInt64;
  return std::nullopt;
}

at::Tensor part_of(MutableByteSpan bucket, comm::DType type, std::uint64_t offset,
                   std::int64_t count)
{
  return flat_view(bucket, tensor_type(type)).narrow(0, static_cast<std::int64_t>(offset), count);
}

}  // namespace

absl::Status Buffers::add(const std::string& name, const at::Tensor& tensor, bool stage)
{
  const auto type = bucket_type(tensor);
  if (!type)
    return absl::InvalidArgumentError(absl::StrCat(
        "buffer ", name, " is of type ", type_name(tensor),
        ", which cannot be merged between workers: keep it outside of the model's buffers"));
  Item item;
  item.name = name;
  item.memory = HostTensor(tensor, stage);
  item.remember();
  for (item.bucket = 0; item.bucket < buckets_.size(); ++item.bucket)
    if (buckets_[item.bucket].type == *type) break;
  if (item.bucket == buckets_.size()) buckets_.push_back({*type, 0});
  item.offset = buckets_[item.bucket].count;
  buckets_[item.bucket].count += static_cast<std::uint64_t>(tensor.numel());
  items_.push_back(std::move(item));
  return absl::OkStatus();
}

absl::Status Buffers::check_unchanged() const
{
  for (const Item& item : items_)
    if (item.memory.replaced()) return replaced_error("buffer", item.name);
  return absl::OkStatus();
}

absl::Status Buffers::add_state(engine::StateTable& table) const
{
  for (const Item& item : items_)
    if (absl::Status added = table.add(item.memory.entry(item.name, engine::StateKind::kBuffer));
        !added.ok())
      return added;
  return absl::OkStatus();
}

std::vector<engine::BucketSpec> Buffers::bucket_specs() const
{
  return buckets_;
}

void Buffers::contribute(engine::Engine& engine, std::size_t first_bucket, double share, bool lead)
{
  at::NoGradGuard no_grad;
  for (const Item& item : items_)
  {
    const at::Tensor& live = item.memory.live();
    const comm::DType type = buckets_[item.bucket].type;
    at::Tensor target =
        part_of(engine.bucket(first_bucket + item.bucket), type, item.offset, live.numel());
    const bool floating = live.is_floating_point();
    // Without samples there is nothing to say, not even 0 times infinity.
    if (floating ? share == 0 : !lead)
    {
      target.zero_();
      continue;
    }
    target.copy_(live.reshape({-1}));
    if (floating) target.sub_(item.base.reshape({-1}));
    if (floating && share != 1) target.mul_(share);
  }
  for (std::size_t b = 0; b < buckets_.size(); ++b) engine.bucket_ready(first_bucket + b);
}

void Buffers::take_reduced(absl::Span<engine::ReducedBucket> buckets, double correction)
{
  at::NoGradGuard no_grad;
  for (Item& item : items_)
  {
    const at::Tensor& live = item.memory.live();
    const comm::DType type = buckets_[item.bucket].type;
    at::Tensor sum = part_of(buckets[item.bucket].bytes, type, item.offset, live.numel());
    if (live.is_floating_point())
    {
      if (correction != 1) sum.mul_(correction);
      sum.add_(item.base.reshape({-1}));
    }
    live.copy_(sum.view(live.sizes()));
  }
}

void Buffers::Item::remember()
{
  if (!memory.live().is_floating_point()) return;
  const at::NoGradGuard no_grad;
  if (!base.defined()) base = at::empty_like(memory.live());
  base.copy_(memory.live()).nan_to_num_(/*nan=*/0.0, /*posinf=*/0.0, /*neginf=*/0.0);
}

void Buffers::remember()
{
  for (Item& item : items_) item.remember();
}

void Buffers::to_host()
{
  for (Item& item : items_) item.memory.to_host();
}

void Buffers::from_host()
{
  for (Item& item : items_) item.memory.from_host();
  remember();
}

}  // namespace spillway::internal
