// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"

namespace spillway {

// Named places where a test makes a real process die, stop or wait. Every name is listed in
// kFaultPoints of fault_point.cc; a name that is not listed there aborts, and tests fail when a
// listed one is never reached.
//
// SPILLWAY_FAULT is a comma-separated list of rules, each `point[@key=value…]:action`:
//   apply.before@worker=3@step=40:kill      kill -9 oneself
//   vote.cast@hit=5:stop                    SIGSTOP oneself
//   backward@step=7:exit=3                  exit with that code
// `hit` counts passages of this point in this process from 1. A rule fires once.
// SPILLWAY_FAULT_LOG names a file to which each passage appends its point's name once.
struct FaultContext
{
  std::uint64_t worker = 0;
  std::uint64_t step = 0;
  std::uint64_t rank = 0;
};

void fault_point(absl::string_view name, const FaultContext& context = {});

// The listed names, for tests and documentation.
std::vector<std::string> fault_point_names();

// Checks the syntax and names of a SPILLWAY_FAULT value.
absl::Status check_fault_rules(absl::string_view rules);

}  // namespace spillway
