// SPDX-License-Identifier: Apache-2.0
#include "spillway/train/lr_schedule.h"

#include <algorithm>
#include <cmath>
#include <numbers>
#include <utility>

#include "absl/strings/str_cat.h"
#include "exact.h"
#include "spillway/train/error.h"

namespace spillway {

using internal::exact;

LrSchedule::LrSchedule(std::string name, std::function<double(std::uint64_t)> rate)
    : name_(std::move(name)), rate_(std::move(rate))
{
  if (!rate_) throw Error(absl::InvalidArgumentError("an LrSchedule needs a function of the step"));
}

LrSchedule LrSchedule::constant(double rate)
{
  return {absl::StrCat("constant ", exact(rate)), [rate](std::uint64_t) { return rate; }};
}

LrSchedule LrSchedule::step_decay(double rate, std::uint64_t every, double factor)
{
  if (every == 0)
    throw Error(absl::InvalidArgumentError("LrSchedule::step_decay: `every` is 0 steps"));
  return {absl::StrCat("step_decay ", exact(rate), " every ", every, " times ", exact(factor)),
          [=](std::uint64_t step) {
            const std::uint64_t falls = (std::max<std::uint64_t>(step, 1) - 1) / every;
            return rate * std::pow(factor, static_cast<double>(falls));
          }};
}

LrSchedule LrSchedule::cosine(double peak, std::uint64_t total, double floor)
{
  if (total == 0) throw Error(absl::InvalidArgumentError("LrSchedule::cosine: `total` is 0 steps"));
  return {absl::StrCat("cosine ", exact(peak), " to ", exact(floor), " in ", total),
          [=](std::uint64_t step) {
            if (step >= total) return floor;
            const double done = static_cast<double>(std::max<std::uint64_t>(step, 1) - 1) /
                                static_cast<double>(total);
            return floor + (peak - floor) * 0.5 * (1 + std::cos(std::numbers::pi * done));
          }};
}

LrSchedule LrSchedule::warmed_up(std::uint64_t steps) const
{
  if (steps == 0) return *this;
  return {absl::StrCat(name_, ", warmed up in ", steps), [rate = rate_, steps](std::uint64_t step) {
            const double share = static_cast<double>(step) / static_cast<double>(steps);
            return rate(step) * std::min(1.0, share);
          }};
}

}  // namespace spillway
