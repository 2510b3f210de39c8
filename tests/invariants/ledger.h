// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "spillway/base/ids.h"

// What must be true of every run, whoever produced it: the simulator or the real engine's event
// logs. Nothing here knows a rule of the protocol, a message or a switch that turns a rule off; it
// knows only facts that an onlooker with perfect sight could state.
namespace spillway::invariants {

enum class Invariant
{
  kEqualStates,        // two states of one name are equal, and a step is computed from one state
  kNothingUndone,      // an applied step is not undone while a process that holds it lives
  kOneLineage,         // no two applied steps contradict each other; a number has one base
  kOneStepApart,       // applied steps of live members differ by at most one
  kExactlyOnce,        // each position of the data is used once in the committed lineage
  kNumbersUnique,      // the content of a number never changes
  kNoNeedlessAbort,    // a change without a fault aborts no step
  kNoNeedlessRestore,  // without a fault the state is never lost
  kProgress,           // when faults stop and a holder lives, steps are applied again
};
const char* to_string(Invariant invariant);

struct Finding
{
  Invariant invariant;
  std::string what;
};

// A run of positions [begin, end) in the consumption order of one part of the data set.
struct Range
{
  std::uint32_t part = 0;
  std::uint64_t begin = 0;
  std::uint64_t end = 0;
  friend auto operator<=>(const Range&, const Range&) = default;
};

// What one member put into one step.
struct Contribution
{
  WorkerId worker;
  std::uint64_t from = 0;  // hash of the state it was computed from; unused when ranges is empty
  std::vector<Range> ranges;
};

// Collects facts and says which invariants they break. One thread. Facts arrive in the order in
// which they became true. Findings are kept in order; a caller that stops at the first one looks
// at `findings()` after each fact.
class Ledger
{
 public:
  // `batch`: the positions that each step must cover, as ranges relative to the step.
  explicit Ledger(std::vector<Range> batch) : batch_(std::move(batch)) {}

  // A number became known with this content (any hash of all that makes the number what it is).
  void published(Number number, std::uint64_t content);
  // An epoch was formed after a fault, with this base.
  void formed(Number number, StateName base);
  // `worker` now trains in `number`, which starts from `base`.
  void activated(WorkerId worker, Number number, StateName base);
  // `worker` left the number it was in, or stopped for good.
  void deactivated(WorkerId worker);
  // The buckets of step `name` are complete on `worker` and make `hash` out of `parent`.
  void reduced(WorkerId worker, StateName name, std::uint64_t hash, StateName parent,
               std::uint64_t parent_hash, const std::vector<Contribution>& contributions);
  // `worker` made the reduced step its state.
  void applied(WorkerId worker, StateName name, std::uint64_t hash);
  // `worker` got this state in another way: a copy, or its own buckets under a new number.
  void obtained(WorkerId worker, StateName name, std::uint64_t hash);
  // `worker` has no complete state any more.
  void state_lost(WorkerId worker);
  // `worker` is dead, whether anybody knows it or not.
  void died(WorkerId worker);
  // `worker` lives, but was declared dead by a lease that ran out or by an operator: the state that
  // it holds now is not protected any more.
  void declared_dead(WorkerId worker);
  // Something happened that may abort a step.
  void fault() { fault_seen_ = true; }
  // Somebody asked for the abort of the step under way.
  void aborted(Number number);
  void stuck(const std::string& why) { report(Invariant::kProgress, why); }
  void restore_needed(const std::string& why);

  // True when `older` lies in the past of `newer`, or is it.
  bool in_past(StateName older, StateName newer) const;
  const std::vector<Finding>& findings() const { return findings_; }
  std::uint64_t applied_steps() const { return highest_.value(); }

 private:
  struct Holder
  {
    WorkerId worker;
    bool live = true;
    bool has_state = false;
    bool given_up = false;  // its present state is not protected
    StateName state;
    Number number;  // zero: in none
  };
  Holder& holder(WorkerId worker);
  void report(Invariant invariant, std::string what);
  void check_name(WorkerId worker, StateName name, std::uint64_t hash);

  std::vector<Range> batch_;
  std::vector<Finding> findings_;
  std::vector<Holder> holders_;
  std::map<Number, std::uint64_t> contents_;
  std::map<Number, StateName> bases_;
  std::map<Number, StepId> last_applied_;
  std::map<StateName, std::uint64_t> hashes_;
  std::map<StateName, StateName> parents_;
  StepId highest_;
  bool fault_seen_ = false;
};

// Sorts `ranges` and counts how `wanted` (sorted, disjoint) is covered.
struct Coverage
{
  std::uint64_t missing = 0;
  std::uint64_t doubled = 0;
  std::uint64_t foreign = 0;  // used, but not wanted
  bool exact() const { return missing == 0 && doubled == 0 && foreign == 0; }
};
Coverage cover(std::vector<Range> ranges, const std::vector<Range>& wanted);

}  // namespace spillway::invariants
