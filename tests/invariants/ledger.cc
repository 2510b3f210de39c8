// SPDX-License-Identifier: Apache-2.0
#include "ledger.h"

#include <algorithm>

#include "absl/strings/str_cat.h"

namespace spillway::invariants {

const char* to_string(Invariant invariant)
{
  switch (invariant)
  {
    case Invariant::kEqualStates:
      return "equal-states";
    case Invariant::kNothingUndone:
      return "nothing-undone";
    case Invariant::kOneLineage:
      return "one-lineage";
    case Invariant::kOneStepApart:
      return "one-step-apart";
    case Invariant::kExactlyOnce:
      return "exactly-once";
    case Invariant::kNumbersUnique:
      return "numbers-unique";
    case Invariant::kNoNeedlessAbort:
      return "no-needless-abort";
    case Invariant::kNoNeedlessRestore:
      return "no-needless-restore";
    case Invariant::kProgress:
      return "progress";
  }
  return "?";
}

void Ledger::report(Invariant invariant, std::string what)
{
  findings_.push_back({invariant, std::move(what)});
}

Ledger::Holder& Ledger::holder(WorkerId worker)
{
  for (Holder& known : holders_)
  {
    if (known.worker == worker) return known;
  }
  holders_.push_back({.worker = worker, .state = {}, .number = {}});
  return holders_.back();
}

void Ledger::published(Number number, std::uint64_t content)
{
  const auto [entry, fresh] = contents_.emplace(number, content);
  if (!fresh && entry->second != content)
  {
    report(Invariant::kNumbersUnique, absl::StrCat("number ", number.value(), " has two contents"));
  }
}

bool Ledger::in_past(StateName older, StateName newer) const
{
  // A chain goes down by one step at each link, so this ends.
  while (newer.step > older.step)
  {
    const auto link = parents_.find(newer);
    if (link == parents_.end()) return false;
    newer = link->second;
  }
  return newer == older;
}

void Ledger::formed(Number number, StateName base)
{
  const auto [entry, fresh] = bases_.emplace(number, base);
  if (!fresh && entry->second != base)
  {
    report(Invariant::kOneLineage,
           absl::StrCat("epoch ", number.value(), " starts from ", to_string(entry->second),
                        " and from ", to_string(base)));
  }
  for (const Holder& known : holders_)
  {
    // An initial state is no step that somebody applied.
    if (known.state.step.value() == 0) continue;
    if (known.live && known.has_state && !known.given_up && !in_past(known.state, base))
    {
      report(Invariant::kNothingUndone,
             absl::StrCat("epoch ", number.value(), " from ", to_string(base), " throws away ",
                          to_string(known.state), ", which live worker ", known.worker.value(),
                          " holds"));
    }
  }
}

void Ledger::activated(WorkerId worker, Number number, StateName base)
{
  holder(worker).number = number;
  const auto [entry, fresh] = bases_.emplace(number, base);
  if (!fresh && entry->second != base)
  {
    report(Invariant::kOneLineage,
           absl::StrCat("worker ", worker.value(), " enters number ", number.value(), " from ",
                        to_string(base), ", others from ", to_string(entry->second)));
  }
}

void Ledger::deactivated(WorkerId worker)
{
  holder(worker).number = Number();
}

void Ledger::reduced(WorkerId worker, StateName name, std::uint64_t hash, StateName parent,
                     std::uint64_t parent_hash, const std::vector<Contribution>& contributions)
{
  std::vector<Range> ranges;
  for (const Contribution& contribution : contributions)
  {
    ranges.insert(ranges.end(), contribution.ranges.begin(), contribution.ranges.end());
    if (!contribution.ranges.empty() && contribution.from != parent_hash)
    {
      report(Invariant::kEqualStates,
             absl::StrCat("step ", to_string(name), " on worker ", worker.value(),
                          ": the share of worker ", contribution.worker.value(),
                          " was computed from another state"));
    }
  }
  const Coverage coverage = cover(std::move(ranges), batch_);
  if (!coverage.exact())
  {
    report(Invariant::kExactlyOnce,
           absl::StrCat("step ", to_string(name), " on worker ", worker.value(), " misses ",
                        coverage.missing, " positions, doubles ", coverage.doubled, ", has ",
                        coverage.foreign, " of other steps"));
  }
  if (parent.step.next() != name.step)
  {
    report(Invariant::kExactlyOnce, absl::StrCat("step ", to_string(name), " follows ",
                                                 to_string(parent), " on worker ", worker.value()));
  }
  const auto [entry, fresh] = parents_.emplace(name, parent);
  if (!fresh && entry->second != parent)
  {
    report(Invariant::kEqualStates,
           absl::StrCat("step ", to_string(name), " follows ", to_string(entry->second),
                        " elsewhere and ", to_string(parent), " on worker ", worker.value()));
  }
  check_name(worker, name, hash);
}

void Ledger::check_name(WorkerId worker, StateName name, std::uint64_t hash)
{
  const auto [entry, fresh] = hashes_.emplace(name, hash);
  if (!fresh && entry->second != hash)
  {
    report(Invariant::kEqualStates,
           absl::StrCat("worker ", worker.value(), " has another state under ", to_string(name)));
  }
}

void Ledger::applied(WorkerId worker, StateName name, std::uint64_t hash)
{
  check_name(worker, name, hash);
  // A number above this one has gone on from a base that does not know this step: two lineages.
  for (auto later = last_applied_.upper_bound(name.number); later != last_applied_.end(); ++later)
  {
    const auto base = bases_.find(later->first);
    if (base != bases_.end() && !in_past(name, base->second))
    {
      report(Invariant::kOneLineage,
             absl::StrCat("worker ", worker.value(), " applies ", to_string(name),
                          " although number ", later->first.value(), ", from ",
                          to_string(base->second), ", has applied steps"));
      break;
    }
  }
  StepId& last = last_applied_[name.number];
  last = std::max(last, name.step);
  highest_ = std::max(highest_, name.step);
  Holder& self = holder(worker);
  self.has_state = true;
  self.given_up = false;
  self.state = name;
  for (const Holder& other : holders_)
  {
    if (!other.live || !other.has_state || other.number != self.number || !self.number) continue;
    // Who has not copied the base yet still holds something older; it applies nothing.
    const auto base = bases_.find(self.number);
    const bool at_base = base != bases_.end() && other.state == base->second;
    if (other.state.number != self.number && !at_base) continue;
    const std::uint64_t a = other.state.step.value(), b = name.step.value();
    if ((a > b ? a - b : b - a) > 1)
    {
      report(Invariant::kOneStepApart,
             absl::StrCat("workers ", worker.value(), " and ", other.worker.value(), " of number ",
                          self.number.value(), " hold steps ", b, " and ", a));
    }
  }
}

void Ledger::obtained(WorkerId worker, StateName name, std::uint64_t hash)
{
  check_name(worker, name, hash);
  Holder& self = holder(worker);
  self.has_state = true;
  self.given_up = false;
  self.state = name;
}

void Ledger::state_lost(WorkerId worker)
{
  holder(worker).has_state = false;
}

void Ledger::died(WorkerId worker)
{
  Holder& self = holder(worker);
  self.live = false;
  self.number = Number();
}

void Ledger::declared_dead(WorkerId worker)
{
  holder(worker).given_up = true;
}

void Ledger::aborted(Number number)
{
  if (!fault_seen_)
  {
    report(Invariant::kNoNeedlessAbort,
           absl::StrCat("abort ", number.value(), " although nothing has failed"));
  }
}

void Ledger::restore_needed(const std::string& why)
{
  if (!fault_seen_) report(Invariant::kNoNeedlessRestore, why);
}

Coverage cover(std::vector<Range> ranges, const std::vector<Range>& wanted)
{
  std::sort(ranges.begin(), ranges.end());
  Coverage result;
  std::uint64_t wanted_total = 0, used_in_wanted = 0, used_total = 0;
  for (const Range& want : wanted) wanted_total += want.end - want.begin;
  // Distinct use, by sweeping the sorted ranges; what overlaps the sweep was used before.
  std::uint32_t part = 0;
  std::uint64_t swept = 0;
  bool first = true;
  for (const Range& range : ranges)
  {
    if (range.begin >= range.end) continue;
    if (first || range.part != part) swept = 0;
    first = false;
    part = range.part;
    const std::uint64_t begin = std::max(range.begin, swept);
    result.doubled += std::min(range.end, begin) - std::min(range.begin, range.end);
    if (begin >= range.end) continue;
    swept = range.end;
    used_total += range.end - begin;
    for (const Range& want : wanted)
    {
      if (want.part != range.part) continue;
      const std::uint64_t low = std::max(begin, want.begin), high = std::min(range.end, want.end);
      if (low < high) used_in_wanted += high - low;
    }
  }
  result.missing = wanted_total - used_in_wanted;
  result.foreign = used_total - used_in_wanted;
  return result;
}

}  // namespace spillway::invariants
