// SPDX-License-Identifier: Apache-2.0
#include "spillway/base/hash.h"
#include "spillway/base/ids.h"
#include "spillway/base/log.h"

int main()
{
  const spillway::StateName name{spillway::Number(2), spillway::StepId(17)};
  spillway::log_info("an installed base names a state ", to_string(name));
  return to_string(name) == "(2,17)" ? 0 : 1;
}
