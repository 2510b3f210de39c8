// SPDX-License-Identifier: Apache-2.0
#include "spillway/train/train_state.h"

#include <torch/optim/schedulers/lr_scheduler.h>

#include <utility>

#include "absl/strings/str_cat.h"
#include "spillway/train/error.h"
#include "state_parts.h"

namespace spillway {
namespace {

void collect(const std::string& prefix, torch::nn::Module& module, TrainState::Parts& parts)
{
  for (const auto& item : module.named_parameters())
    if (item.value().defined()) parts.parameters.push_back({prefix + item.key(), item.value()});
  // A batch norm that tracks nothing registers undefined buffers.
  for (const auto& item : module.named_buffers())
    if (item.value().defined()) parts.buffers.push_back({prefix + item.key(), item.value()});
}

}  // namespace

TrainState::TrainState(torch::nn::Module& model, torch::optim::Optimizer& optimizer)
    : parts_(std::make_shared<Parts>())
{
  collect("", model, *parts_);
  add_optimizer(optimizer);
}

TrainState& TrainState::add_optimizer(torch::optim::Optimizer& optimizer)
{
  parts_->optimizers.push_back({&optimizer, std::nullopt});
  return *this;
}

TrainState& TrainState::schedule(LrSchedule schedule, std::size_t optimizer)
{
  if (optimizer >= parts_->optimizers.size())
    throw Error(absl::InvalidArgumentError(
        absl::StrCat("TrainState::schedule: there is no optimizer ", optimizer, "; ",
                     parts_->optimizers.size(), " were added, counted from 0")));
  parts_->optimizers[optimizer].schedule = std::move(schedule);
  return *this;
}

TrainState& TrainState::schedule(const torch::optim::LRScheduler&)
{
  throw Error(absl::InvalidArgumentError(
      "TrainState::schedule: a torch::optim::LRScheduler counts the calls of its own step() and "
      "cannot be saved or copied, so a worker that joins later would train with another learning "
      "rate. Use spillway::LrSchedule, a function of the step"));
}

TrainState& TrainState::add_module(std::string name, torch::nn::Module& module)
{
  collect(name + ".", module, *parts_);
  return *this;
}

TrainState& TrainState::add_tensor(std::string name, const at::Tensor& tensor)
{
  if (!tensor.defined())
    throw Error(absl::InvalidArgumentError(
        absl::StrCat("TrainState::add_tensor: '", name, "' is an undefined tensor")));
  parts_->tensors.push_back({std::move(name), tensor});
  return *this;
}

TrainState& TrainState::add_scalar(std::string name, double& value)
{
  parts_->scalars.push_back(
      {std::move(name), "double", {reinterpret_cast<std::byte*>(&value), sizeof value}});
  return *this;
}

TrainState& TrainState::add_scalar(std::string name, std::int64_t& value)
{
  parts_->scalars.push_back(
      {std::move(name), "int64", {reinterpret_cast<std::byte*>(&value), sizeof value}});
  return *this;
}

TrainState& TrainState::on_applied(std::function<void(const AppliedStep&)> update)
{
  parts_->updates.push_back(std::move(update));
  return *this;
}

}  // namespace spillway
