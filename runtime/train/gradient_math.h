// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

#include "absl/types/span.h"

namespace spillway::internal {

// Loops over reduced gradients in host memory. Plain C++ in a fixed order, so that the replicas get
// the same bits whatever libtorch's dispatch or thread count would do.

// In double, over independent partial sums. Not finite iff a value is not finite.
double sum_of_squares(absl::Span<const float> values);
double sum_of_squares(absl::Span<const double> values);

void scale(absl::Span<float> values, double factor);
void scale(absl::Span<double> values, double factor);

}  // namespace spillway::internal
