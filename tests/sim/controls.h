// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

namespace spillway::sim {

// The negative controls: every rule switched off, alone and with its whole paragraph, must be
// noticed by the ledger, which knows no rule. What a core says about itself does not count.
// `search` looks for the first seed of each instead of trying the one that is known.
bool run_controls(const std::string& table, bool search);

}  // namespace spillway::sim
