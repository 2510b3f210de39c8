// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <torch/optim/optimizer.h>
#include <torch/types.h>

#include <array>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "gradients.h"
#include "host_tensor.h"
#include "spillway/engine/state.h"
#include "spillway/train/lr_schedule.h"

namespace spillway::internal {

// What is known of a parameter by its tensor.
struct KnownParameter
{
  std::string name;
  std::optional<std::size_t> trained;  // index in Gradients
};
using KnownParameters = std::map<const void*, KnownParameter>;

// One optimizer of libtorch as registered state and a pure function of it. Creates the state that
// libtorch would create at its first step, in the optimizer's own table, where it stays.
class OptimizerUpdate
{
 public:
  // kInvalidArgument: an optimizer whose state or update is not known, and why that matters.
  static absl::StatusOr<std::unique_ptr<OptimizerUpdate>> create(std::size_t number,
                                                                 torch::optim::Optimizer& optimizer,
                                                                 std::optional<LrSchedule> schedule,
                                                                 const KnownParameters& known,
                                                                 const RunOptions& options);

  absl::Status add_state(engine::StateTable& table);
  // What the program changed since the last apply, past the runtime: rates, hyperparameters, which
  // parameters there are, and the optimizer's own table. A worker that joins would not know of it.
  absl::Status check_unchanged() const;
  // Step `step` with the reduced gradients; parameters without one are left alone.
  void apply(std::uint64_t step, const Gradients& gradients);
  void to_host();
  void from_host();
  double learning_rate() const;

 private:
  enum class Kind
  {
    kAdam,
    kAdamW,
    kSgd,
  };
  struct Item
  {
    std::size_t trained = 0;
    std::string name;
    at::Tensor tensor;
    torch::optim::OptimizerParamState* state = nullptr;
    std::vector<HostTensor> memory;  // exp_avg, exp_avg_sq, max_exp_avg_sq; or momentum_buffer
    std::size_t counter = 0;         // index in counters_
    at::ScalarType kernel_type{};    // what a fused kernel computes it in
    bool plain = false;  // parameter and memory are as fused kernels need them: dense in one order
  };
  // Items of one parameter group, element type and device: what a fused kernel takes at once.
  struct List
  {
    std::size_t group = 0;
    std::vector<Item> items;
    at::Tensor steps;                      // of items, on their device
    std::vector<at::Tensor> step_of_item;  // views of `steps`
  };
  struct Chosen
  {
    std::vector<at::Tensor> parameters, gradients, memory[3], steps;
    std::vector<std::pair<at::Tensor, at::Tensor>> copies;  // of what is not plain: from, dense
    void clear();
  };

  OptimizerUpdate(std::size_t number, torch::optim::Optimizer& optimizer, Kind kind,
                  std::optional<LrSchedule> schedule);
  void add_items(const KnownParameters& known, bool stage);
  // All but the rate.
  std::array<double, 5> hyperparameters(std::size_t group) const;
  absl::Status check_groups() const;
  absl::Status check_table() const;
  Item make_item(std::size_t group, const at::Tensor& tensor, bool stage);
  std::string describe() const;
  void set_rate(std::uint64_t step);
  void apply_plain(const Gradients& gradients);
  void apply_fused(List& list, const Gradients& gradients);
  void run_chosen(const List& list, bool first);
  void run_adam(const List& list);
  void run_sgd(const List& list, bool first);
  void choose(const List& list, std::size_t index, const at::Tensor& gradient);
  void mirror_steps();

  std::size_t number_;
  torch::optim::Optimizer& optimizer_;
  Kind kind_;
  bool fused_ = true;
  std::optional<LrSchedule> schedule_;
  std::vector<double> ratio_of_group_;  // to the first group's rate
  std::vector<double> rate_of_group_;   // as set last
  std::vector<std::size_t> size_of_group_;
  std::vector<std::array<double, 5>> hyperparameters_;      // of each group
  std::vector<std::pair<std::string, at::Tensor>> frozen_;  // of its parameters
  double base_rate_ = 0;
  std::vector<List> lists_;
  std::vector<std::int64_t> counters_;  // updates of each item; registered
  Chosen chosen_;                       // of the call under way; the memory is used again
};

}  // namespace spillway::internal
