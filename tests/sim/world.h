// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <functional>
#include <iostream>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "control.h"
#include "coordinator_host.h"
#include "holds.h"
#include "ledger.h"
#include "network.h"
#include "process.h"
#include "schedule.h"
#include "setup.h"

namespace spillway::sim {

// Positions that each step covers.
inline constexpr std::uint64_t kBatch = 12;

// Counts how often each named branch of the cores was taken.
class Branches : public BranchObserver
{
 public:
  void branch(const char* name) override { ++hits_[name]; }
  std::map<std::string, std::uint64_t> by_name() const;

 private:
  std::map<const char*, std::uint64_t> hits_;
};

// What a run came to.
struct Outcome
{
  std::string end;  // "finished", "state lost", …
  std::vector<invariants::Finding> findings;
  std::string broken;     // what a core said about itself
  std::string unreached;  // the condition of a script that did not come true
  std::uint64_t applied_steps = 0;
  std::uint64_t faults = 0;
  std::uint64_t events = 0;
  std::map<std::string, std::uint64_t> fault_kinds;
};

// Everything that is simulated, and what only an onlooker knows.
class World
{
 public:
  World(const Setup& setup, Branches& branches, bool trace);

  // A run with random faults.
  Outcome run();
  // A run piece by piece: the first processes are the caller's; finish() repairs and judges.
  void begin() { coordinator_.start(); }
  // False: there is nothing more to do.
  bool run_until(MonotonicTime when);
  // True as soon as `reached`; false: not by then.
  bool run_until(const std::function<bool()>& reached, MonotonicTime then);
  Outcome finish();

  // Parts.
  const Setup& setup() const { return setup_; }
  Rng& rng() { return rng_; }
  Schedule& schedule() { return schedule_; }
  MonotonicTime now() const { return schedule_.now(); }
  Network& network() { return network_; }
  ControlPlane& control() { return control_; }
  Holds& holds() { return holds_; }
  // After a change of holds: what nobody holds any more goes on its way.
  void release_held();
  CoordinatorHost& coordinator() { return coordinator_; }
  invariants::Ledger& ledger() { return ledger_; }
  Branches& branches() { return branches_; }
  Process& process(int index) { return *processes_[static_cast<std::size_t>(index)]; }
  int process_count() const { return static_cast<int>(processes_.size()); }
  int index_of(WorkerId worker) const;
  MemberInfo info(int index) const;
  Duration delay(Lane lane, int a, int b);
  // What a random run leaves to chance. In a script: never, and all.
  bool by_chance(double probability) { return !setup_.scripted && rng_.chance(probability); }
  std::size_t some_of(std::size_t most)
  {
    return setup_.scripted ? most : static_cast<std::size_t>(rng_.below(most + 1));
  }

  // What happens.
  int start_process();
  void greeted(WorkerId worker, int index) { indices_[worker] = index; }
  void activated(WorkerId worker, Number number, StateName base);
  void number_formed(Number number, StateName base, const MembershipExplanation& known);
  void applied(WorkerId worker, StateName name, std::uint64_t hash);
  void process_exited(int index, EndReason reason);
  void job_ended(EndReason reason);
  void rule_broken(const std::string& text);
  void refused(int index);
  void heard(int index, MonotonicTime sent) { heard_[index] = sent; }
  void exits_are_reported_again();
  bool may_greet(int index);
  bool over() const { return ended_.has_value(); }
  bool repaired() const { return repaired_; }
  bool wants_last_step() const { return wants_last_step_; }
  bool holder_lives();

  template <typename... Parts>
  void trace(const Parts&... parts)
  {
    if (!trace_) return;
    std::cout << (now() - MonotonicTime{}) / std::chrono::microseconds(1) << " "
              << absl::StrCat(parts...) << "\n";
  }
  void count_fault(const char* kind, bool may_abort);

 private:
  // What a core says about itself ends a run only while all rules are on: in a control the ledger
  // alone counts.
  bool failed() const { return !ledger_.findings().empty() || (all_rules_on_ && !broken_.empty()); }
  void settle();
  bool all_forgotten();
  void repair();
  bool went_on();
  std::vector<int> wanted();
  void judge_end();
  void trace_everybody();

  const Setup setup_;
  Rng rng_;
  Branches& branches_;
  const bool trace_;
  const bool all_rules_on_;
  Schedule schedule_;
  invariants::Ledger ledger_;
  Network network_;
  ControlPlane control_;
  Holds holds_;
  CoordinatorHost coordinator_;
  std::vector<std::unique_ptr<Process>> processes_;
  std::map<WorkerId, int> indices_;
  std::map<int, MonotonicTime> heard_;
  std::map<std::array<int, 3>, double> slowness_;

  std::map<Number, StateName> bases_;
  std::map<Number, StepId> applied_;
  StepId highest_;
  bool wants_last_step_ = false;
  bool repaired_ = false;
  bool enough_ = true;  // members for the minimum, after the repair
  std::optional<EndReason> ended_;
  std::string broken_;
  Outcome outcome_;
};

}  // namespace spillway::sim
