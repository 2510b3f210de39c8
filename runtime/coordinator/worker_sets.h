// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <iterator>
#include <vector>

#include "spillway/base/ids.h"

namespace spillway {

// Sets of workers as ascending vectors without repetition, the form in which lists and records
// have them anyway: walking two of them side by side costs a fraction of a tree of nodes, which
// counts where the whole of a large job is looked at.

inline std::vector<WorkerId> difference(const std::vector<WorkerId>& a,
                                        const std::vector<WorkerId>& b)
{
  std::vector<WorkerId> out;
  std::set_difference(a.begin(), a.end(), b.begin(), b.end(), std::back_inserter(out));
  return out;
}

// Of any vector.
inline void make_set(std::vector<WorkerId>& workers)
{
  std::sort(workers.begin(), workers.end());
  workers.erase(std::unique(workers.begin(), workers.end()), workers.end());
}

}  // namespace spillway
