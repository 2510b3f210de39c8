// SPDX-License-Identifier: Apache-2.0
#include "host_tensor.h"

#include <utility>

#include "absl/strings/str_cat.h"

namespace spillway::internal {

HostTensor::HostTensor(at::Tensor live, bool stage) : live_(std::move(live))
{
  staged_ = stage || !live_.device().is_cpu() || !live_.is_non_overlapping_and_dense();
  if (staged_)
    host_ = at::empty(live_.sizes(), live_.options().device(at::kCPU).requires_grad(false));
  else
    host_ = live_.detach();
  if (staged_) to_host();
  count_ = live_.numel();
  type_ = live_.scalar_type();
  data_ = count_ > 0 ? live_.const_data_ptr() : nullptr;
}

bool HostTensor::replaced() const
{
  if (live_.numel() != count_ || live_.scalar_type() != type_) return true;
  return count_ > 0 && live_.const_data_ptr() != data_;
}

MutableByteSpan HostTensor::bytes() const
{
  if (!host_.defined() || host_.numel() == 0) return {};
  return {static_cast<std::byte*>(host_.data_ptr()), static_cast<std::size_t>(host_.nbytes())};
}

void HostTensor::to_host()
{
  if (!staged_) return;
  at::NoGradGuard no_grad;
  host_.copy_(live_);
}

void HostTensor::from_host()
{
  if (!staged_) return;
  at::NoGradGuard no_grad;
  live_.copy_(host_);
}

engine::StateEntry HostTensor::entry(std::string name, engine::StateKind kind) const
{
  engine::StateEntry entry;
  entry.name = std::move(name);
  entry.dtype = type_name(live_);
  entry.shape = live_.sizes().vec();
  entry.kind = kind;
  entry.bytes = bytes();
  return entry;
}

absl::Status replaced_error(const char* kind, const std::string& name)
{
  return absl::FailedPreconditionError(absl::StrCat(
      kind, " ", name,
      " has got other memory or another type since the run started, as by torch::load(), to() or "
      "set_data(): what is registered, and copied to a worker that joins, is not it any more. Do "
      "that before Runtime::start(), or copy values in place"));
}

std::optional<comm::DType> reduction_type(at::ScalarType type)
{
  switch (type)
  {
    case at::kFloat:
      return comm::DType::kFp32;
    case at::kDouble:
      return comm::DType::kFp64;
    case at::kBFloat16:
      return comm::DType::kBf16;
    case at::kHalf:
      return comm::DType::kFp16;
    case at::kInt:
      return comm::DType::kInt32;
    case at::kLong:
      return comm::DType::kInt64;
    default:
      return std::nullopt;
  }
}

at::ScalarType tensor_type(comm::DType type)
{
  switch (type)
  {
    case comm::DType::kFp32:
      return at::kFloat;
    case comm::DType::kFp64:
      return at::kDouble;
    case comm::DType::kBf16:
      return at::kBFloat16;
    case comm::DType::kFp16:
      return at::kHalf;
    case comm::DType::kInt32:
      return at::kInt;
    case comm::DType::kInt64:
      return at::kLong;
  }
  return at::kFloat;
}

std::string type_name(const at::Tensor& tensor)
{
  return c10::toString(tensor.scalar_type());
}

at::Tensor view_of(std::byte* data, at::IntArrayRef sizes, at::IntArrayRef strides,
                   at::ScalarType type)
{
  return at::from_blob(data, sizes, strides, at::TensorOptions().dtype(type));
}

at::Tensor flat_view(MutableByteSpan bytes, at::ScalarType type)
{
  const auto count = bytes.size() / c10::elementSize(type);
  return at::from_blob(bytes.data(), {static_cast<std::int64_t>(count)},
                       at::TensorOptions().dtype(type));
}

}  // namespace spillway::internal
