// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "options.h"
#include "world.h"

namespace spillway::sim {

// What many seeds came to.
class Report
{
 public:
  explicit Report(Options options) : options_(std::move(options)) {}

  Branches& branches() { return branches_; }
  // False: enough was found.
  bool add(std::uint64_t seed, const Outcome& outcome);
  // True: nothing was found, and every branch was taken.
  bool print(std::chrono::nanoseconds took) const;

 private:
  std::vector<std::string> branches_never_taken() const;
  void print_json(double ms, const std::vector<std::string>& never) const;
  std::string replay(std::uint64_t seed) const;

  Options options_;
  Branches branches_;
  std::vector<std::uint64_t> steps_;
  std::vector<std::uint64_t> faults_;
  std::map<std::string, std::uint64_t> ends_;
  std::map<std::string, std::uint64_t> fault_kinds_;
  std::map<std::string, std::uint64_t> findings_;
  std::uint64_t events_ = 0;
};

}  // namespace spillway::sim
