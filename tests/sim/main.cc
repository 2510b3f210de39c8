// SPDX-License-Identifier: Apache-2.0
// spillway_sim: runs the real two cores under a seeded world.
#include <algorithm>
#include <chrono>
#include <iostream>

#include "controls.h"
#include "options.h"
#include "report.h"
#include "script.h"
#include "world.h"

int main(int argc, char** argv)
{
  using namespace spillway::sim;
  const std::optional<Options> options = parse_options(argc, argv);
  if (!options) return 2;
  if (!options->table.empty()) return run_controls(options->table, options->search) ? 0 : 1;
  if (!options->script.empty())
    return run_scripts(options->script, options->rules, options->trace) ? 0 : 1;
  Report report(*options);
  const auto begun = std::chrono::steady_clock::now();
  for (std::uint64_t i = 0; i < options->seeds; ++i)
  {
    const std::uint64_t seed = options->first_seed + i;
    World world(draw_setup(seed, options->rules), report.branches(), options->trace);
    if (options->trace) std::cout << describe(world.setup()) << "\n";
    if (!report.add(seed, world.run())) break;
  }
  return report.print(std::chrono::steady_clock::now() - begun) ? 0 : 1;
}
