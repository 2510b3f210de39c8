// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <compare>
#include <cstdint>
#include <functional>
#include <ostream>
#include <string>

namespace spillway {

// A number that cannot be mistaken for another kind of number. Zero means "none" in every id
// type except Rank, StepId and RoundId, where it is the first one. Values are plain data: any
// thread may copy them.
template <typename Tag, typename Value = std::uint64_t>
class StrongId
{
 public:
  using value_type = Value;
  constexpr StrongId() = default;
  constexpr explicit StrongId(Value value) : value_(value) {}
  constexpr Value value() const { return value_; }
  constexpr explicit operator bool() const { return value_ != 0; }
  constexpr StrongId next() const { return StrongId(static_cast<Value>(value_ + 1)); }
  friend constexpr auto operator<=>(const StrongId&, const StrongId&) = default;
  friend std::ostream& operator<<(std::ostream& out, StrongId id) { return out << id.value_; }
  template <typename H>
  friend H AbslHashValue(H state, StrongId id)
  {
    return H::combine(std::move(state), id.value_);
  }

 private:
  Value value_ = 0;
};

// Epochs and plans share one counter per job; a Number is never reused.
using Number = StrongId<struct NumberTag>;
// One optimizer update; step 0 is the initial state.
using StepId = StrongId<struct StepTag>;
// One exchange between sites. Equal to the step while there is one site.
using RoundId = StrongId<struct RoundTag>;
// A training process for the length of its life. Higher is younger. Never reused in a job.
using WorkerId = StrongId<struct WorkerTag>;
// A machine as the coordinator sees it: one connected agent.
using NodeId = StrongId<struct NodeTag>;
// Nodes with a fast network between them.
using SiteId = StrongId<struct SiteTag, std::uint32_t>;
// Random, born with the first epoch of a job: two runs under one job name cannot be mixed up.
using Lineage = StrongId<struct LineageTag>;
// Index in the member list of one number.
using Rank = StrongId<struct RankTag, std::uint32_t>;

// Names a state of the replica: the number that reduced the step, and the step. Two states with
// one name are equal bit for bit.
struct StateName
{
  Number number;
  StepId step;
  friend constexpr auto operator<=>(const StateName&, const StateName&) = default;
  friend std::ostream& operator<<(std::ostream& out, const StateName& name)
  {
    return out << "(" << name.number << "," << name.step << ")";
  }
  template <typename H>
  friend H AbslHashValue(H state, const StateName& name)
  {
    return H::combine(std::move(state), name.number, name.step);
  }
};

// The full name of a step, valid for any count of sites. With one site `round` equals `step` and
// `site_epoch` equals `job_epoch`.
struct StepName
{
  Lineage lineage;
  Number job_epoch;
  RoundId round;
  Number site_epoch;
  StepId step;
  friend constexpr auto operator<=>(const StepName&, const StepName&) = default;
};

// For absl::StrCat and messages.
template <typename Tag, typename Value>
std::string to_string(StrongId<Tag, Value> id)
{
  return std::to_string(id.value());
}
inline std::string to_string(const StateName& name)
{
  return "(" + to_string(name.number) + "," + to_string(name.step) + ")";
}

}  // namespace spillway
