// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <torch/types.h>

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "spillway/base/bytes.h"
#include "spillway/engine/engine.h"
#include "spillway/engine/state.h"

namespace spillway::internal {

// A tensor of the state, and the host memory that the engine knows it by: its own if it lies dense
// in host memory, else a copy that is brought up to date by hand.
class HostTensor
{
 public:
  HostTensor() = default;
  HostTensor(at::Tensor live, bool stage);

  const at::Tensor& live() const { return live_; }
  bool staged() const { return staged_; }
  // The program gave the tensor other memory or another type: what is registered is not it any
  // more.
  bool replaced() const;
  MutableByteSpan bytes() const;
  void to_host();    // after `live` changed
  void from_host();  // after the bytes changed
  engine::StateEntry entry(std::string name, engine::StateKind kind) const;

 private:
  at::Tensor live_;
  at::Tensor host_;
  bool staged_ = false;
  // Of `live`, as registered.
  const void* data_ = nullptr;
  std::int64_t count_ = 0;
  at::ScalarType type_ = at::kFloat;
};

// For a tensor that was replaced.
absl::Status replaced_error(const char* kind, const std::string& name);

// How a tensor is reduced; none: this type is not.
std::optional<comm::DType> reduction_type(at::ScalarType type);
at::ScalarType tensor_type(comm::DType type);
std::string type_name(const at::Tensor& tensor);

// A tensor over host memory that somebody else owns.
at::Tensor view_of(std::byte* data, at::IntArrayRef sizes, at::IntArrayRef strides,
                   at::ScalarType type);
at::Tensor flat_view(MutableByteSpan bytes, at::ScalarType type);

}  // namespace spillway::internal
