// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <concepts>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "spillway/train/lr_schedule.h"

// libtorch's types are only named here: whoever has a model has included them.
namespace at {
class Tensor;
}
namespace torch::nn {
class Module;
}
namespace torch::optim {
class LRScheduler;
class Optimizer;
}  // namespace torch::optim

namespace spillway {

// A step as every replica knows it after the vote: the same values everywhere.
struct AppliedStep
{
  std::uint64_t number = 0;
  double loss = 0;  // mean over all workers
  std::uint64_t samples = 0;
  bool skipped = false;  // committed, but parameters and optimizers were left alone
};

// All that makes two replicas equal: parameters and buffers of a model, its optimizers, and what
// the program adds. A description: Runtime::start() registers it and creates optimizer state that
// libtorch would create lazily. Tensors, optimizers and scalars outlive the run and are not
// replaced by others meanwhile.
//
// Parameters are averaged if they require a gradient and belong to an optimizer; the others are
// frozen, but part of the state, and stay so. Floating-point buffers change by the mean over the
// step's samples of what each worker changed (batch-norm statistics), integer ones are one
// member's. A tensor with several names, as of a shared module, is known by its first.
//
// While the run lives the program changes none of this itself: weights that it bounds or averages
// are changed in on_applied(), rates by a schedule. Memory or optimizer state that was replaced,
// rates, hyperparameters and parameter groups that were changed, and gradients that were touched
// between micro-batches are found before the next update: Error.
class TrainState
{
 public:
  TrainState(torch::nn::Module& model, torch::optim::Optimizer& optimizer);
  // std::shared_ptr to a module, or a module holder such as torch::nn::Sequential.
  template <typename Model, std::derived_from<torch::optim::Optimizer> Optimizer>
  requires requires(Model model) { model.operator->(); }
  TrainState(Model model, Optimizer& optimizer)
      : TrainState(static_cast<torch::nn::Module&>(*model.operator->()),
                   static_cast<torch::optim::Optimizer&>(optimizer))
  {
  }

  // A further one, over other parameters. They are stepped in the order in which they were added.
  TrainState& add_optimizer(torch::optim::Optimizer& optimizer);
  // Of an optimizer by the order of adding.
  TrainState& schedule(LrSchedule schedule, std::size_t optimizer = 0);
  // Throws Error: a scheduler that counts its own steps cannot be handed to a joiner.
  TrainState& schedule(const torch::optim::LRScheduler& scheduler);
  // More parameters and buffers, under `name`.
  TrainState& add_module(std::string name, torch::nn::Module& module);

  // The program's own state: counters, averages. It is changed by on_applied() and nowhere else,
  // since a worker that joins, or that learns of a step's end late, applies steps that its loop
  // never sees.
  TrainState& add_tensor(std::string name, const at::Tensor& tensor);
  TrainState& add_scalar(std::string name, double& value);
  TrainState& add_scalar(std::string name, std::int64_t& value);
  // Called in every replica with each step that is committed, in order, once, after the update: a
  // pure function of the step and of registered state. Several are called in the order of adding.
  TrainState& on_applied(std::function<void(const AppliedStep&)> update);

  struct Parts;
  const Parts& parts() const { return *parts_; }

 private:
  std::shared_ptr<Parts> parts_;
};

}  // namespace spillway
