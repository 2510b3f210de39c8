// SPDX-License-Identifier: Apache-2.0
#include "optimizer_update.h"

#include <ATen/ops/_fused_adam.h>
#include <ATen/ops/_fused_adamw.h>
#include <ATen/ops/_fused_sgd.h>
#include <c10/util/Type.h>
#include <torch/optim/adam.h>
#include <torch/optim/adamw.h>
#include <torch/optim/lbfgs.h>
#include <torch/optim/sgd.h>

#include <typeinfo>
#include <utility>

#include "absl/strings/str_cat.h"
#include "exact.h"
#include "spillway/base/status.h"

namespace spillway::internal {

using torch::optim::AdamOptions;
using torch::optim::AdamParamState;
using torch::optim::AdamWOptions;
using torch::optim::AdamWParamState;
using torch::optim::SGDOptions;
using torch::optim::SGDParamState;

namespace {

template <typename Options>
std::array<double, 5> adam_numbers(const Options& options)
{
  return {std::get<0>(options.betas()), std::get<1>(options.betas()), options.eps(),
          options.weight_decay(), options.amsgrad() ? 1.0 : 0.0};
}

constexpr std::array<const char*, 5> kAdamNumbers = {"beta1", "beta2", "eps", "weight_decay",
                                                     "amsgrad"};
constexpr std::array<const char*, 5> kSgdNumbers = {"momentum", "dampening", "weight_decay",
                                                    "nesterov", ""};

bool lies_plain(const at::Tensor& tensor, const std::vector<HostTensor>& memory)
{
  if (!tensor.is_non_overlapping_and_dense()) return false;
  for (const HostTensor& part : memory)
    if (part.live().strides() != tensor.strides()) return false;
  return true;
}

// The state that libtorch's own step() would create, in its own table, or what is already there.
template <typename State>
State& state_of(torch::optim::Optimizer& optimizer, const at::Tensor& tensor)
{
  auto& slot = optimizer.state()[tensor.unsafeGetTensorImpl()];
  if (!slot) slot = std::make_unique<State>();
  return static_cast<State&>(*slot);
}

template <typename State>
std::vector<at::Tensor> adam_memory(State& state, const at::Tensor& tensor, bool amsgrad)
{
  const auto zeros = [&tensor](const at::Tensor& before) {
    if (before.defined()) return before;
    return at::zeros_like(tensor.detach(), at::MemoryFormat::Preserve);
  };
  state.exp_avg(zeros(state.exp_avg()));
  state.exp_avg_sq(zeros(state.exp_avg_sq()));
  if (amsgrad) state.max_exp_avg_sq(zeros(state.max_exp_avg_sq()));
  std::vector<at::Tensor> memory = {state.exp_avg(), state.exp_avg_sq()};
  if (amsgrad) memory.push_back(state.max_exp_avg_sq());
  return memory;
}

}  // namespace

absl::StatusOr<std::unique_ptr<OptimizerUpdate>> OptimizerUpdate::create(
    std::size_t number, torch::optim::Optimizer& optimizer, std::optional<LrSchedule> schedule,
    const KnownParameters& known, const RunOptions& options)
{
  // By the exact type: a class derived from one of these may do anything in its step().
  const std::type_info& type = typeid(optimizer);
  if (type == typeid(torch::optim::LBFGS))
    return absl::InvalidArgumentError(absl::StrCat(
        "optimizer ", number,
        " is LBFGS, which evaluates the loss several times within one step "
        "and decides by local values how often; a step here is one reduction. Use AdamW, Adam or "
        "SGD"));
  Kind kind = Kind::kSgd;
  if (type == typeid(torch::optim::Adam))
    kind = Kind::kAdam;
  else if (type == typeid(torch::optim::AdamW))
    kind = Kind::kAdamW;
  else if (type != typeid(torch::optim::SGD))
    return absl::InvalidArgumentError(absl::StrCat(
        "optimizer ", number, " is a ", c10::demangle(type.name()),
        ": which state it keeps is not known, so it could not be copied to a worker that joins. "
        "Use torch::optim::AdamW, Adam or SGD"));
  const auto& groups = optimizer.param_groups();
  if (groups.empty())
    return absl::InvalidArgumentError(absl::StrCat(
        "optimizer ", number, " has no parameter group, and so no learning rate; leave it out"));
  for (const auto& group : groups)
    if (schedule && groups.front().options().get_lr() == 0 && group.options().get_lr() != 0)
      return absl::InvalidArgumentError(
          absl::StrCat("optimizer ", number,
                       " has a schedule, and the first group's learning rate is 0 while "
                       "another's is ",
                       group.options().get_lr(), ": groups keep their ratio to the first"));
  std::unique_ptr<OptimizerUpdate> update(
      new OptimizerUpdate(number, optimizer, kind, std::move(schedule)));
  update->fused_ = options.fused_update;
  if (kind == Kind::kSgd)
    for (const auto& group : optimizer.param_groups())
      // Optimizer::step() treats a momentum that exists as one that has been filled.
      if (static_cast<const SGDOptions&>(group.options()).dampening() != 0) update->fused_ = true;
  update->add_items(known, options.stage_through_host);
  return update;
}

OptimizerUpdate::OptimizerUpdate(std::size_t number, torch::optim::Optimizer& optimizer, Kind kind,
                                 std::optional<LrSchedule> schedule)
    : number_(number), optimizer_(optimizer), kind_(kind), schedule_(std::move(schedule))
{
  base_rate_ = optimizer_.param_groups().front().options().get_lr();
  for (const auto& group : optimizer_.param_groups())
  {
    const double rate = group.options().get_lr();
    rate_of_group_.push_back(rate);
    ratio_of_group_.push_back(base_rate_ == 0 ? 1.0 : rate / base_rate_);
    size_of_group_.push_back(group.params().size());
    hyperparameters_.push_back(hyperparameters(hyperparameters_.size()));
  }
}

std::string OptimizerUpdate::describe() const
{
  std::string text = kind_ == Kind::kAdam ? "Adam" : kind_ == Kind::kAdamW ? "AdamW" : "SGD";
  if (fused_) absl::StrAppend(&text, " fused");
  absl::StrAppend(&text, schedule_ ? absl::StrCat(" lr (", schedule_->name(), ")") : "");
  for (std::size_t g = 0; g < rate_of_group_.size(); ++g)
  {
    absl::StrAppend(&text, g > 0 ? "; group" : "", " lr ",
                    exact(schedule_ ? ratio_of_group_[g] : rate_of_group_[g]),
                    schedule_ ? " times" : "");
    const auto& names = kind_ == Kind::kSgd ? kSgdNumbers : kAdamNumbers;
    for (std::size_t i = 0; i < names.size(); ++i)
      if (*names[i] != 0) absl::StrAppend(&text, " ", names[i], " ", exact(hyperparameters_[g][i]));
  }
  return text;
}

std::array<double, 5> OptimizerUpdate::hyperparameters(std::size_t group) const
{
  const auto& options = optimizer_.param_groups()[group].options();
  if (kind_ == Kind::kAdam) return adam_numbers(static_cast<const AdamOptions&>(options));
  if (kind_ == Kind::kAdamW) return adam_numbers(static_cast<const AdamWOptions&>(options));
  const auto& sgd = static_cast<const SGDOptions&>(options);
  return {sgd.momentum(), sgd.dampening(), sgd.weight_decay(), sgd.nesterov() ? 1.0 : 0.0, 0.0};
}

OptimizerUpdate::Item OptimizerUpdate::make_item(std::size_t group, const at::Tensor& tensor,
                                                 bool stage)
{
  Item item;
  item.tensor = tensor;
  std::int64_t steps = 0;
  std::vector<at::Tensor> memory;
  const auto& options = optimizer_.param_groups()[group].options();
  if (kind_ == Kind::kAdam)
  {
    auto& state = state_of<AdamParamState>(optimizer_, tensor);
    memory = adam_memory(state, tensor, static_cast<const AdamOptions&>(options).amsgrad());
    steps = state.step();
    item.state = &state;
  }
  else if (kind_ == Kind::kAdamW)
  {
    auto& state = state_of<AdamWParamState>(optimizer_, tensor);
    memory = adam_memory(state, tensor, static_cast<const AdamWOptions&>(options).amsgrad());
    steps = state.step();
    item.state = &state;
  }
  else if (static_cast<const SGDOptions&>(options).momentum() != 0)
  {
    auto& state = state_of<SGDParamState>(optimizer_, tensor);
    steps = state.momentum_buffer().defined() ? 1 : 0;
    if (steps == 0)
      state.momentum_buffer(at::zeros_like(tensor.detach(), at::MemoryFormat::Preserve));
    memory = {state.momentum_buffer()};
    item.state = &state;
  }
  for (at::Tensor& part : memory) item.memory.emplace_back(std::move(part), stage);
  // On CPUs libtorch's fused SGD leaves narrow parameters as they are and reads momenta from
  // nowhere.
  const bool widened = kind_ == Kind::kSgd && tensor.device().is_cpu() && tensor.itemsize() == 2;
  item.kernel_type = widened ? at::kFloat : tensor.scalar_type();
  item.plain = !widened && lies_plain(tensor, item.memory);
  item.counter = counters_.size();
  counters_.push_back(steps);
  return item;
}

void OptimizerUpdate::add_items(const KnownParameters& known, bool stage)
{
  for (std::size_t g = 0; g < optimizer_.param_groups().size(); ++g)
  {
    for (const at::Tensor& tensor : optimizer_.param_groups()[g].params())
    {
      const auto found = known.find(tensor.unsafeGetTensorImpl());
      if (found == known.end()) continue;
      if (!found->second.trained)
      {
        if (tensor.numel() > 0) frozen_.emplace_back(found->second.name, tensor);
        continue;
      }
      List* list = nullptr;
      for (List& other : lists_)
        if (other.group == g && other.items[0].tensor.scalar_type() == tensor.scalar_type() &&
            other.items[0].tensor.device() == tensor.device())
          list = &other;
      if (list == nullptr)
      {
        list = &lists_.emplace_back();
        list->group = g;
      }
      Item item = make_item(g, tensor, stage);
      item.name = found->second.name;
      item.trained = *found->second.trained;
      list->items.push_back(std::move(item));
    }
  }
  for (List& list : lists_)
  {
    const auto count = static_cast<std::int64_t>(list.items.size());
    const auto device = list.items.front().tensor.device();
    list.steps = at::zeros({count}, at::TensorOptions().dtype(at::kFloat).device(device));
    for (std::int64_t i = 0; i < count; ++i) list.step_of_item.push_back(list.steps.select(0, i));
  }
}

absl::Status OptimizerUpdate::add_state(engine::StateTable& table)
{
  static constexpr const char* kAdamNames[] = {"exp_avg", "exp_avg_sq", "max_exp_avg_sq"};
  const std::string prefix = absl::StrCat("optimizer", number_, ".");
  for (const List& list : lists_)
    for (const Item& item : list.items)
      for (std::size_t m = 0; m < item.memory.size(); ++m)
      {
        const char* part = kind_ == Kind::kSgd ? "momentum_buffer" : kAdamNames[m];
        absl::Status added = table.add(item.memory[m].entry(
            absl::StrCat(prefix, item.name, ".", part), engine::StateKind::kOptimizer));
        if (!added.ok()) return added;
      }
  // Its line in the layout also compares the hyperparameters.
  engine::StateEntry steps;
  steps.name = prefix + "steps";
  steps.dtype = absl::StrCat("Long of ", describe());
  steps.shape = {static_cast<std::int64_t>(counters_.size())};
  steps.kind = engine::StateKind::kOptimizer;
  steps.bytes = {reinterpret_cast<std::byte*>(counters_.data()),
                 counters_.size() * sizeof counters_[0]};
  return table.add(std::move(steps));
}

absl::Status OptimizerUpdate::check_unchanged() const
{
  SPILLWAY_RETURN_IF_ERROR(check_groups());
  for (const auto& [name, tensor] : frozen_)
    if (tensor.requires_grad())
      return absl::FailedPreconditionError(absl::StrCat(
          "parameter ", name,
          " was frozen when the run started and now requires a gradient, for "
          "which there is no place in the buckets. Let it require one from the start; until it is "
          "used in forward it is left alone"));
  return check_table();
}

absl::Status OptimizerUpdate::check_groups() const
{
  const auto& groups = optimizer_.param_groups();
  bool same = groups.size() == size_of_group_.size();
  for (std::size_t g = 0; same && g < groups.size(); ++g)
    same = groups[g].params().size() == size_of_group_[g];
  if (!same)
    return absl::FailedPreconditionError(
        absl::StrCat("parameters were added to optimizer ", number_,
                     " or taken from it since the run started: "
                     "they would not be reduced. Give it all of them before Runtime::start()"));
  for (std::size_t g = 0; g < rate_of_group_.size(); ++g)
  {
    const double found = optimizer_.param_groups()[g].options().get_lr();
    if (found != rate_of_group_[g])
      return absl::FailedPreconditionError(
          absl::StrCat("the learning rate of optimizer ", number_, ", group ", g,
                       " was changed from ", rate_of_group_[g], " to ", found,
                       " by hand or by a scheduler: a worker that joins would not know of it. Use "
                       "TrainState::schedule with an LrSchedule, a function of the step"));
    if (hyperparameters(g) != hyperparameters_[g])
      return absl::FailedPreconditionError(absl::StrCat(
          "a hyperparameter of optimizer ", number_, ", group ", g,
          ", was changed since the run started: a worker that joins would not know of it"));
  }
  return absl::OkStatus();
}

absl::Status OptimizerUpdate::check_table() const
{
  for (const List& list : lists_)
    for (const Item& item : list.items)
    {
      if (item.state == nullptr) continue;
      const auto found = optimizer_.state().find(item.tensor.unsafeGetTensorImpl());
      bool same = found != optimizer_.state().end() && found->second.get() == item.state;
      const auto check = [&](std::size_t m, const at::Tensor& now) {
        same = same && now.is_same(item.memory[m].live()) && !item.memory[m].replaced();
      };
      const auto check_adam = [&](const auto& state) {
        check(0, state.exp_avg());
        check(1, state.exp_avg_sq());
        if (item.memory.size() > 2) check(2, state.max_exp_avg_sq());
      };
      if (same && kind_ == Kind::kAdam) check_adam(static_cast<const AdamParamState&>(*item.state));
      if (same && kind_ == Kind::kAdamW)
        check_adam(static_cast<const AdamWParamState&>(*item.state));
      if (same && kind_ == Kind::kSgd)
        check(0, static_cast<const SGDParamState&>(*item.state).momentum_buffer());
      if (!same)
        return absl::FailedPreconditionError(absl::StrCat(
            "the state of parameter ", item.name, " in optimizer ", number_,
            " was cleared, loaded or replaced since the run started: what is registered, and "
            "copied to a worker that joins, is not it any more. Do that before Runtime::start()"));
    }
  return absl::OkStatus();
}

void OptimizerUpdate::set_rate(std::uint64_t step)
{
  if (!schedule_) return;
  const double rate = schedule_->at(step);
  for (std::size_t g = 0; g < rate_of_group_.size(); ++g)
  {
    rate_of_group_[g] = rate * ratio_of_group_[g];
    optimizer_.param_groups()[g].options().set_lr(rate_of_group_[g]);
  }
}

double OptimizerUpdate::learning_rate() const
{
  return rate_of_group_.front();
}

void OptimizerUpdate::to_host()
{
  for (List& list : lists_)
    for (Item& item : list.items)
      for (HostTensor& memory : item.memory) memory.to_host();
}

void OptimizerUpdate::from_host()
{
  for (List& list : lists_)
    for (Item& item : list.items)
      for (HostTensor& memory : item.memory) memory.from_host();
  mirror_steps();
}

// The counters are the truth; libtorch's own are kept equal for whoever reads or saves them. Looked
// up in its table, from which the program may have taken them: check_unchanged() will say so.
void OptimizerUpdate::mirror_steps()
{
  if (kind_ == Kind::kSgd) return;
  for (List& list : lists_)
    for (Item& item : list.items)
    {
      const auto found = optimizer_.state().find(item.tensor.unsafeGetTensorImpl());
      if (found == optimizer_.state().end() || found->second.get() != item.state) continue;
      if (kind_ == Kind::kAdam)
        static_cast<AdamParamState*>(item.state)->step(counters_[item.counter]);
      else
        static_cast<AdamWParamState*>(item.state)->step(counters_[item.counter]);
    }
}

void OptimizerUpdate::apply(std::uint64_t step, const Gradients& gradients)
{
  at::NoGradGuard no_grad;
  set_rate(step);
  if (!fused_)
    apply_plain(gradients);
  else
    for (List& list : lists_) apply_fused(list, gradients);
  mirror_steps();
}

void OptimizerUpdate::apply_plain(const Gradients& gradients)
{
  for (List& list : lists_)
    for (Item& item : list.items) item.tensor.mutable_grad() = gradients.reduced(item.trained);
  optimizer_.step();
  for (List& list : lists_)
    for (Item& item : list.items)
    {
      if (item.tensor.grad().defined()) ++counters_[item.counter];
      item.tensor.mutable_grad().reset();
    }
}

void OptimizerUpdate::Chosen::clear()
{
  parameters.clear();
  gradients.clear();
  for (auto& part : memory) part.clear();
  steps.clear();
  copies.clear();
}

// Fused kernels take tensors for runs of memory in one order: what is none goes in as a copy, and
// so does what has another type than the kernel.
void OptimizerUpdate::choose(const List& list, std::size_t index, const at::Tensor& gradient)
{
  const Item& item = list.items[index];
  const auto dense = [&](const at::Tensor& tensor) {
    if (item.plain) return tensor;
    at::Tensor copy = tensor.to(item.kernel_type).contiguous();
    if (!copy.is_same(tensor)) chosen_.copies.emplace_back(tensor, copy);
    return copy;
  };
  chosen_.parameters.push_back(dense(item.tensor));
  chosen_.gradients.push_back(item.plain ? gradient : gradient.to(item.kernel_type).contiguous());
  for (std::size_t m = 0; m < item.memory.size(); ++m)
    chosen_.memory[m].push_back(dense(item.memory[m].live()));
  chosen_.steps.push_back(list.step_of_item[index]);
}

void OptimizerUpdate::apply_fused(List& list, const Gradients& gradients)
{
  // SGD's first update fills the momentum without dampening it, so those go in a call of their own.
  for (const bool first : {false, true})
  {
    chosen_.clear();
    at::Tensor steps = list.steps.device().is_cpu()
                           ? list.steps
                           : at::empty(list.steps.sizes(), at::TensorOptions().dtype(at::kFloat));
    float* step_values = steps.mutable_data_ptr<float>();
    for (std::size_t i = 0; i < list.items.size(); ++i)
    {
      const Item& item = list.items[i];
      const at::Tensor& gradient = gradients.reduced(item.trained);
      const bool is_first = kind_ == Kind::kSgd && counters_[item.counter] == 0;
      if (!gradient.defined() || is_first != first || item.tensor.numel() == 0) continue;
      step_values[i] = static_cast<float>(counters_[item.counter] + 1);
      choose(list, i, gradient);
      // One after the other, or there would be wide copies of all at once.
      if (item.kernel_type != item.tensor.scalar_type()) run_chosen(list, first);
    }
    if (!list.steps.is_same(steps)) list.steps.copy_(steps);
    run_chosen(list, first);
  }
  for (const Item& item : list.items)
    if (gradients.reduced(item.trained).defined()) ++counters_[item.counter];
}

void OptimizerUpdate::run_chosen(const List& list, bool first)
{
  if (chosen_.parameters.empty()) return;
  if (kind_ == Kind::kSgd)
    run_sgd(list, first);
  else
    run_adam(list);
  for (const auto& [tensor, copy] : chosen_.copies) tensor.copy_(copy);
  chosen_.clear();
}

void OptimizerUpdate::run_adam(const List& list)
{
  const auto& options = optimizer_.param_groups()[list.group].options();
  const auto call = [this](const auto& adam, auto&& kernel) {
    kernel(chosen_.parameters, chosen_.gradients, chosen_.memory[0], chosen_.memory[1],
           chosen_.memory[2], chosen_.steps, adam.lr(), std::get<0>(adam.betas()),
           std::get<1>(adam.betas()), adam.weight_decay(), adam.eps(), adam.amsgrad());
  };
  if (kind_ == Kind::kAdamW)
    call(static_cast<const AdamWOptions&>(options),
         [](auto&&... arguments) { at::_fused_adamw_(arguments..., /*maximize=*/false); });
  else
    call(static_cast<const AdamOptions&>(options),
         [](auto&&... arguments) { at::_fused_adam_(arguments..., /*maximize=*/false); });
}

void OptimizerUpdate::run_sgd(const List& list, bool first)
{
  const auto& sgd = static_cast<const SGDOptions&>(optimizer_.param_groups()[list.group].options());
  at::_fused_sgd_(chosen_.parameters, chosen_.gradients, chosen_.memory[0], sgd.weight_decay(),
                  sgd.momentum(), sgd.lr(), sgd.dampening(), sgd.nesterov(), /*maximize=*/false,
                  first);
}

}  // namespace spillway::internal
