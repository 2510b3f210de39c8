// SPDX-License-Identifier: Apache-2.0
#include "log_check.h"

#include <algorithm>
#include <map>
#include <set>

#include "absl/strings/str_cat.h"
#include "json_line.h"
#include "log_replay.h"
#include "spillway/base/hash.h"
#include "spillway/base/status.h"

namespace spillway::invariants {
namespace {

struct NumberFacts
{
  StateName base;
  std::set<std::uint64_t> members;
  bool known = false;
};

// Everything that was logged for one (number, step).
struct StepFacts
{
  std::map<std::uint64_t, std::vector<Range>> contributed;  // by worker
  std::map<std::uint64_t, std::uint64_t> applied;           // hash, by worker
  bool aborted = false;                                     // on somebody, who had begun it
};

class LogJudge
{
 public:
  // The lines of one file in their order, then the next file's.
  absl::Status read(const JsonValue& line, std::size_t file);
  LogReport judge();

 private:
  void read_job(const JsonValue& line);
  void read_epoch(const JsonValue& line, LogEvent event);
  absl::Status read_contributed(const JsonValue& line);
  void read_applied(const JsonValue& line, LogEvent event);

  void find_lineage();
  void tell_the_ledger();
  void check_positions();
  void check_step_positions(StateName name, const StepFacts& facts);
  void count_steps();
  void report(Invariant invariant, std::string what)
  {
    report_.findings.push_back({invariant, std::move(what)});
  }

  LogReport report_;
  std::uint64_t global_batch_ = 0;
  std::vector<std::uint64_t> parts_;
  std::map<Number, NumberFacts> numbers_;
  std::map<StateName, StepFacts> steps_;
  std::set<std::uint64_t> workers_;
  std::vector<LogEvent> events_;
  std::vector<StateName> lineage_;       // committed steps in order
  std::vector<std::uint64_t> expected_;  // next position by part
  std::uint64_t owed_ = 0;  // counted as lost at the end of a step, not yet seen as a hole
};

StateName name_of(const JsonValue& line)
{
  return {Number(line.at("number").number), StepId(line.at("step").number)};
}

absl::Status LogJudge::read(const JsonValue& line, std::size_t file)
{
  const std::string& event = line.at("event").text;
  if (event.empty()) return absl::DataLossError("a line without an event");
  if (line.has("worker")) workers_.insert(line.at("worker").number);
  const LogEvent happened{.at_ns = static_cast<std::int64_t>(line.at("t_ns").number),
                          .file = file,
                          .worker = WorkerId(line.at("worker").number)};
  if (event == "job")
  {
    read_job(line);
  }
  else if (event == "epoch")
  {
    read_epoch(line, happened);
  }
  else if (event == "contributed")
  {
    return read_contributed(line);
  }
  else if (event == "applied")
  {
    read_applied(line, happened);
  }
  else if (event == "aborted")
  {
    steps_[name_of(line)].aborted = true;
  }
  return absl::OkStatus();
}

void LogJudge::read_job(const JsonValue& line)
{
  std::vector<std::uint64_t> parts;
  for (const JsonValue& size : line.at("parts").array) parts.push_back(size.number);
  const std::uint64_t batch = line.at("global_batch").number;
  if (global_batch_ != 0 && (batch != global_batch_ || parts != parts_))
  {
    report(Invariant::kExactlyOnce, "workers disagree about the data set or the global batch");
  }
  global_batch_ = batch;
  parts_ = std::move(parts);
}

void LogJudge::read_epoch(const JsonValue& line, LogEvent event)
{
  const Number number(line.at("number").number);
  NumberFacts facts;
  facts.known = true;
  facts.base = {Number(line.at("base_number").number), StepId(line.at("base_step").number)};
  for (const JsonValue& member : line.at("members").array) facts.members.insert(member.number);
  std::string content;
  for (std::uint64_t member : facts.members) absl::StrAppend(&content, member, ",");
  event.kind = LogEvent::Kind::kEntered;
  event.number = number;
  event.state = facts.base;
  event.hash = content_hash(as_bytes(content));
  events_.push_back(event);
  NumberFacts& known = numbers_[number];
  if (!known.known) known = std::move(facts);
}

absl::Status LogJudge::read_contributed(const JsonValue& line)
{
  const StateName name = name_of(line);
  const std::uint64_t worker = line.at("worker").number;
  std::vector<Range> ranges;
  for (const JsonValue& entry : line.at("ranges").array)
  {
    if (entry.array.size() != 3 || entry.array[1].number > entry.array[2].number)
    {
      return absl::DataLossError("a range is [part, begin, end]");
    }
    ranges.push_back({static_cast<std::uint32_t>(entry.array[0].number), entry.array[1].number,
                      entry.array[2].number});
  }
  auto& mine = steps_[name].contributed;
  const auto [entry, fresh] = mine.emplace(worker, ranges);
  if (!fresh) entry->second.insert(entry->second.end(), ranges.begin(), ranges.end());
  return absl::OkStatus();
}

void LogJudge::read_applied(const JsonValue& line, LogEvent event)
{
  event.kind = LogEvent::Kind::kApplied;
  event.state = name_of(line);
  event.hash = content_hash(as_bytes(line.at("hash").text));
  events_.push_back(event);
  steps_[event.state].applied[event.worker.value()] = event.hash;
}

// The committed lineage, from its newest step back: a number's base names the number that reduced
// the step before its own first one.
void LogJudge::find_lineage()
{
  StateName at;
  for (const auto& [name, facts] : steps_)
  {
    if (!facts.applied.empty()) at = name;  // the map is ordered: highest number, then step
  }
  std::set<Number> seen;
  while (at.step.value() > 0)
  {
    const auto number = numbers_.find(at.number);
    if (number == numbers_.end() || !seen.insert(at.number).second)
    {
      report(Invariant::kOneLineage,
             absl::StrCat("no log says which base number ", at.number.value(), " starts from"));
      break;
    }
    const StateName base = number->second.base;
    if (base.number >= at.number && base.step.value() > 0)
    {
      report(Invariant::kOneLineage, absl::StrCat("number ", at.number.value(), " starts from ",
                                                  to_string(base), ", which is not older"));
      break;
    }
    if (base.step > at.step)
    {
      report(Invariant::kOneLineage,
             absl::StrCat("number ", at.number.value(), " starts from ", to_string(base),
                          " but a later number from ", to_string(at)));
      break;
    }
    for (std::uint64_t step = at.step.value(); step > base.step.value(); --step)
    {
      lineage_.push_back({at.number, StepId(step)});
    }
    at = base;
  }
  std::reverse(lineage_.begin(), lineage_.end());
}

// What has been judged while it happened, by the ledger that judges the simulator too.
void LogJudge::tell_the_ledger()
{
  Ledger ledger({});
  for (const auto& [name, facts] : steps_)
  {
    const auto number = numbers_.find(name.number);
    if (facts.applied.empty() || number == numbers_.end()) continue;
    const StateName& base = number->second.base;
    const StateName parent = base.step.next() == name.step
                                 ? base
                                 : StateName{name.number, StepId(name.step.value() - 1)};
    const auto& [worker, hash] = *facts.applied.begin();
    ledger.reduced(WorkerId(worker), name, hash, parent, 0, {});
  }
  replay(std::move(events_), ledger);
  for (const Finding& finding : ledger.findings())
  {
    if (finding.invariant == Invariant::kEqualStates) report_.replicas_equal = false;
    report_.findings.push_back(finding);
  }
}

void LogJudge::check_step_positions(StateName name, const StepFacts& facts)
{
  std::vector<Range> used;
  for (const auto& [worker, ranges] : facts.contributed)
  {
    for (const Range& range : ranges)
    {
      if (range.begin == range.end) continue;
      if (range.part >= parts_.size())
      {
        report(Invariant::kExactlyOnce, absl::StrCat("step ", to_string(name), " uses part ",
                                                     range.part, ", which does not exist"));
        continue;
      }
      used.push_back(range);
    }
  }
  // What the step covers in each part must follow at once on what the steps before it covered.
  std::vector<Range> wanted;
  std::uint64_t reached = 0;
  for (std::uint32_t part = 0; part < parts_.size(); ++part)
  {
    std::uint64_t end = expected_[part];
    for (const Range& range : used)
    {
      if (range.part == part) end = std::max(end, range.end);
    }
    wanted.push_back({part, expected_[part], end});
    reached += end - expected_[part];
    expected_[part] = end;
  }
  const Coverage coverage = cover(used, wanted);
  // A range that is missing at the end of a part shows as a batch that is too small, and once more
  // as a hole at the beginning of a later step: it is counted once.
  const std::uint64_t again = std::min(owed_, coverage.missing);
  owed_ -= again;
  std::uint64_t lost = coverage.missing - again;
  if (reached - again < global_batch_)
  {
    lost += global_batch_ - (reached - again);
    owed_ += global_batch_ - (reached - again);
  }
  const std::uint64_t doubled = coverage.doubled + coverage.foreign;
  const std::uint64_t beyond =
      reached - again > global_batch_ ? reached - again - global_batch_ : 0;
  report_.samples_used += reached - coverage.missing;
  report_.samples_lost += lost;
  report_.samples_doubled += doubled;
  if (lost + doubled + beyond != 0)
  {
    report(Invariant::kExactlyOnce,
           absl::StrCat("step ", to_string(name), ": ", lost, " samples lost, ", doubled,
                        " doubled, ", beyond, " more than the global batch"));
  }
}

void LogJudge::check_positions()
{
  expected_.assign(parts_.size(), 0);
  for (const StateName& name : lineage_)
  {
    const auto facts = steps_.find(name);
    if (facts == steps_.end())
    {
      report_.samples_lost += global_batch_;
      report(Invariant::kExactlyOnce,
             absl::StrCat("step ", to_string(name), " is committed, but nobody contributed to it"));
      continue;
    }
    const auto number = numbers_.find(name.number);
    for (const auto& [worker, ranges] : facts->second.contributed)
    {
      if (number == numbers_.end() || number->second.members.count(worker) != 0) continue;
      report(Invariant::kExactlyOnce, absl::StrCat("worker ", worker, " contributed to ",
                                                   to_string(name), " without being a member"));
    }
    check_step_positions(name, facts->second);
  }
}

void LogJudge::count_steps()
{
  const std::set<StateName> committed(lineage_.begin(), lineage_.end());
  std::set<StepId> committed_steps;
  for (const StateName& name : lineage_) committed_steps.insert(name.step);
  report_.steps_applied = lineage_.size();
  report_.numbers = numbers_.size();
  report_.workers = workers_.size();
  for (const auto& [name, facts] : steps_)
  {
    if (committed.count(name) != 0) continue;
    // Most are given up before anybody contributes. The control-only step at the end has nothing to
    // lose.
    bool any = facts.aborted;
    for (const auto& [worker, ranges] : facts.contributed) any = any || !ranges.empty();
    if (!any) continue;
    const bool redone = committed_steps.count(name.step) != 0;
    report_.steps_aborted += 1;
    if (redone) report_.steps_redone += 1;
  }
}

LogReport LogJudge::judge()
{
  if (global_batch_ == 0 || parts_.empty())
  {
    report(Invariant::kExactlyOnce, "no log has the line that describes the data set");
  }
  find_lineage();
  tell_the_ledger();
  check_positions();
  count_steps();
  return report_;
}

}  // namespace

absl::StatusOr<LogReport> check_log_lines(const std::vector<std::vector<std::string>>& files)
{
  LogJudge judge;
  for (std::size_t file = 0; file < files.size(); ++file)
  {
    for (std::size_t line = 0; line < files[file].size(); ++line)
    {
      const absl::StatusOr<JsonValue> value = parse_json_line(files[file][line]);
      const bool last = line + 1 == files[file].size();
      if (!value.ok() && last) continue;  // a kill cut it short
      const std::string where = absl::StrCat("log ", file + 1, ", line ", line + 1);
      if (!value.ok()) return annotate(value.status(), where);
      if (absl::Status status = judge.read(*value, file); !status.ok())
        return annotate(status, where);
    }
  }
  return judge.judge();
}

}  // namespace spillway::invariants
