// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <functional>
#include <string>

namespace spillway {

// The learning rate as a pure function of the step (first step = 1), so that a worker that joins
// at step 40,000 needs nothing but the number. It gives the rate of an optimizer's first parameter
// group; the other groups keep their ratio to it. Immutable; any thread.
class LrSchedule
{
 public:
  // `name` is compared between workers: give every other function another one.
  LrSchedule(std::string name, std::function<double(std::uint64_t step)> rate);

  static LrSchedule constant(double rate);
  // Times `factor` after every `every` steps.
  static LrSchedule step_decay(double rate, std::uint64_t every, double factor);
  // Half a cosine from `peak` at the first step to `floor` at step `total` and after.
  static LrSchedule cosine(double peak, std::uint64_t total, double floor = 0);
  // A straight line from 0 up to this schedule's rate over the first `steps` steps.
  LrSchedule warmed_up(std::uint64_t steps) const;

  double at(std::uint64_t step) const { return rate_(step); }
  const std::string& name() const { return name_; }

 private:
  std::string name_;
  std::function<double(std::uint64_t)> rate_;
};

}  // namespace spillway
