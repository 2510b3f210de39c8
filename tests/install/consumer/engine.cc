// SPDX-License-Identifier: Apache-2.0
#include "spillway/engine/data.h"

int main()
{
  spillway::engine::DataOptions options;
  options.parts = {{"digits", 100}};
  options.global_batch = 10;
  const auto plan = spillway::engine::DataPlan::create(options);
  return plan.ok() && plan->steps_per_pass() == 10 ? 0 : 1;
}
