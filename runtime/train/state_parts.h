// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <torch/nn/module.h>
#include <torch/optim/optimizer.h>

#include <functional>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "spillway/base/bytes.h"
#include "spillway/train/train_state.h"

namespace spillway {

struct TrainState::Parts
{
  struct NamedTensor
  {
    std::string name;
    at::Tensor tensor;
  };
  struct Scalar
  {
    std::string name;
    std::string type;
    MutableByteSpan bytes;
  };
  struct ScheduledOptimizer
  {
    torch::optim::Optimizer* optimizer = nullptr;
    std::optional<LrSchedule> schedule;
  };
  std::vector<NamedTensor> parameters;
  std::vector<NamedTensor> buffers;
  std::vector<NamedTensor> tensors;
  std::vector<Scalar> scalars;
  std::vector<ScheduledOptimizer> optimizers;
  std::vector<std::function<void(const AppliedStep&)>> updates;
};

}  // namespace spillway
