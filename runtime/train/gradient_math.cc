// SPDX-License-Identifier: Apache-2.0
#include "gradient_math.h"

#include <cstddef>

namespace spillway::internal {
namespace {

// As many partial sums as two vector registers of doubles have lanes on the widest machine.
constexpr std::size_t kLanes = 16;

template <typename T>
double sum_of_squares_of(absl::Span<const T> values)
{
  double sums[kLanes] = {};
  const std::size_t whole = values.size() / kLanes * kLanes;
  const T* data = values.data();
  for (std::size_t i = 0; i < whole; i += kLanes)
    for (std::size_t lane = 0; lane < kLanes; ++lane)
    {
      const double value = static_cast<double>(data[i + lane]);
      sums[lane] += value * value;
    }
  for (std::size_t i = whole; i < values.size(); ++i)
  {
    const double value = static_cast<double>(data[i]);
    sums[i - whole] += value * value;
  }
  double total = 0;
  for (const double sum : sums) total += sum;
  return total;
}

template <typename T>
void scale_by(absl::Span<T> values, T factor)
{
  T* data = values.data();
  for (std::size_t i = 0; i < values.size(); ++i) data[i] *= factor;
}

}  // namespace

double sum_of_squares(absl::Span<const float> values)
{
  return sum_of_squares_of(values);
}
double sum_of_squares(absl::Span<const double> values)
{
  return sum_of_squares_of(values);
}
void scale(absl::Span<float> values, double factor)
{
  scale_by(values, static_cast<float>(factor));
}
void scale(absl::Span<double> values, double factor)
{
  scale_by(values, factor);
}

}  // namespace spillway::internal
