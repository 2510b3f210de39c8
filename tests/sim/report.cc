// SPDX-License-Identifier: Apache-2.0
#include "report.h"

#include <algorithm>
#include <iostream>

#include "absl/strings/str_join.h"
#include "spillway/engine/member.h"

namespace spillway::sim {
namespace {

// So many seeds reach every branch.
constexpr std::size_t kSeedsForAllBranches = 4000;

std::string spread(std::vector<std::uint64_t> values)
{
  if (values.empty()) return "none";
  std::sort(values.begin(), values.end());
  return absl::StrCat("min ", values.front(), " median ", values[values.size() / 2], " max ",
                      values.back());
}

std::string counts(const std::map<std::string, std::uint64_t>& by_name)
{
  return absl::StrJoin(by_name, " ", [](std::string* out, const auto& item) {
    absl::StrAppend(out, item.first, "=", item.second);
  });
}

}  // namespace

// The same as one JSON object, for programs.
void Report::print_json(double ms, const std::vector<std::string>& never) const
{
  const auto object = [](const std::map<std::string, std::uint64_t>& by_name) {
    return absl::StrCat("{",
                        absl::StrJoin(by_name, ",",
                                      [](std::string* out, const auto& item) {
                                        absl::StrAppend(out, "\"", item.first, "\":", item.second);
                                      }),
                        "}");
  };
  std::cout << "{\"first_seed\":" << options_.first_seed << ",\"seeds\":" << steps_.size()
            << ",\"ms\":" << ms << ",\"events\":" << events_ << ",\"ends\":" << object(ends_)
            << ",\"faults\":" << object(fault_kinds_) << ",\"findings\":" << object(findings_)
            << ",\"branches\":" << object(branches_.by_name())
            << ",\"branches_never_taken\":" << never.size() << "}" << std::endl;
}

std::string Report::replay(std::uint64_t seed) const
{
  std::string line = absl::StrCat("spillway_sim --seed ", seed);
  for (const std::string& rule : options_.without) absl::StrAppend(&line, " --without ", rule);
  return line;
}

bool Report::add(std::uint64_t seed, const Outcome& outcome)
{
  steps_.push_back(outcome.applied_steps);
  faults_.push_back(outcome.faults);
  events_ += outcome.events;
  ++ends_[outcome.end];
  for (const auto& [kind, count] : outcome.fault_kinds) fault_kinds_[kind] += count;
  std::string what;
  if (!outcome.findings.empty())
  {
    const auto& first = outcome.findings.front();
    ++findings_[invariants::to_string(first.invariant)];
    what = absl::StrCat(invariants::to_string(first.invariant), ": ", first.what);
  }
  else if (!outcome.broken.empty() && options_.without.empty())
  {
    ++findings_["rule-broken"];
    what = outcome.broken;
  }
  if (what.empty()) return true;
  std::cout << "FOUND " << what << "\n  " << replay(seed) << std::endl;
  return options_.go_on;
}

std::vector<std::string> Report::branches_never_taken() const
{
  const auto taken = branches_.by_name();
  std::vector<std::string> never;
  for (const auto& names : {membership_branch_names(), member_branch_names()})
    for (const char* name : names)
      if (!taken.contains(name)) never.push_back(name);
  return never;
}

bool Report::print(std::chrono::nanoseconds took) const
{
  const std::vector<std::string> never = branches_never_taken();
  const double ms = static_cast<double>(took.count()) / 1e6;
  const bool enough = steps_.size() >= kSeedsForAllBranches && options_.without.empty();
  const bool good = findings_.empty() && (!enough || never.empty());
  if (options_.json)
  {
    print_json(ms, never);
    return good;
  }
  std::cout << "seeds " << options_.first_seed << " to " << options_.first_seed + steps_.size() - 1
            << ": " << steps_.size() << ", " << ms / static_cast<double>(steps_.size())
            << " ms and " << events_ / steps_.size() << " events each\n"
            << "applied steps per seed: " << spread(steps_) << "\n"
            << "faults and wishes per seed: " << spread(faults_) << "\n"
            << "faults and wishes: " << counts(fault_kinds_) << "\n"
            << "ends: " << counts(ends_) << "\n"
            << "branches: " << counts(branches_.by_name()) << "\n"
            << "branches never taken: " << (never.empty() ? "none" : absl::StrJoin(never, " "))
            << "\n"
            << "findings: " << (findings_.empty() ? "none" : counts(findings_)) << std::endl;
  return good;
}

}  // namespace spillway::sim
