// SPDX-License-Identifier: Apache-2.0
#include "director.h"

#include <algorithm>

namespace spillway::sim {

using std::chrono::milliseconds;
using std::chrono::minutes;
using std::chrono::seconds;

namespace {

// For a condition that names no limit.
constexpr Duration kPatience = seconds(2);

// A calm world: whatever is not in the script takes the same time each time and goes well.
Setup calm_setup(const ProtocolRules& rules)
{
  Setup setup;
  setup.scripted = true;
  setup.slow_lanes = false;
  setup.first_processes = 0;
  setup.membership.last_call = milliseconds(20);
  setup.membership.silence_timeout = milliseconds(100);
  setup.membership.reconnect_grace = milliseconds(500);
  setup.membership.join_timeout = seconds(20);
  setup.membership.progress_floor = seconds(5);
  setup.membership.probe_interval = milliseconds(20);
  setup.membership.probe_interval_max = seconds(2);
  setup.membership.lease = minutes(11);
  setup.membership.min_members = 1;
  setup.membership.max_members = 6;
  setup.member_lease = minutes(8);
  setup.heartbeat = seconds(1);
  setup.rules = rules;
  return setup;
}

Lane lane_of(Held work)
{
  return work == Held::kComputing   ? Lane::kCompute
         : work == Held::kApplying  ? Lane::kApply
         : work == Held::kPreparing ? Lane::kPrepare
                                    : Lane::kCopy;
}

}  // namespace

Director::Director(const ProtocolRules& rules, Branches& branches, bool trace)
    : setup_(calm_setup(rules)), branches_(branches), trace_(trace)
{
}

int Director::index(const std::string& name) const
{
  return name == "coordinator" ? kCoordinator : names_.at(name);
}

Process& Director::process(const Words& words, const char* place)
{
  return world_->process(index(words.text(place)));
}

const MemberCore* Director::core(const Words& words)
{
  return process(words).alive() ? process(words).core() : nullptr;
}

std::optional<MembershipExplanation::Member> Director::known(const Words& words)
{
  MembershipCore* leader = world_->coordinator().leader();
  if (leader == nullptr) return std::nullopt;
  for (const auto& member : leader->explain(world_->now()).members)
    if (member.info.worker == process(words).worker()) return member;
  return std::nullopt;
}

Happening Director::pattern(const Words& words) const
{
  const auto at = std::find(kHeldWords.begin(), kHeldWords.end(), words.text("what"));
  Happening out{.what = static_cast<Held>(at - kHeldWords.begin()),
                .number = Number(words.count("number")),
                .step = StepId(words.count("step"))};
  if (words.has("from")) out.from = index(words.text("from"));
  if (words.has("to")) out.to = index(words.text("to"));
  return out;
}

bool Director::any_held(const Happening& pattern)
{
  if (is_message(pattern.what))
    return world_->network().any_held(pattern) || world_->control().any_held(pattern);
  return world_->process(pattern.from).any_held(lane_of(pattern.what));
}

void Director::start(const std::string& name)
{
  names_[name] = world_->start_process();
}

void Director::wait(Duration span)
{
  world_->run_until(world_->now() + span);
}

void Director::unreachable(int from, int to)
{
  if (from == to) return;
  world_->network().cut(from, to);
  world_->network().cut(to, from);
}

Outcome Director::run(const Script& script)
{
  std::string unreached;
  for (const Script::Line& line : script.lines)
  {
    const Phrase& phrase = phrases()[line.phrase];
    if (phrase.set)
    {
      phrase.set(*this, line.words);
      continue;
    }
    if (world_ == nullptr)
    {
      world_ = std::make_unique<World>(setup_, branches_, trace_);
      world_->begin();
    }
    world_->trace("LINE ", line.number, ": ", line.text);
    if (phrase.act) phrase.act(*this, line.words);
    if (!phrase.until) continue;
    const MonotonicTime limit = world_->now() + line.words.span("limit", kPatience);
    if (world_->run_until([&] { return phrase.until(*this, line.words); }, limit)) continue;
    unreached = absl::StrCat("line ", line.number, " was not reached: ", line.text);
    break;
  }
  Outcome outcome = world_->finish();
  outcome.unreached = unreached;
  return outcome;
}

}  // namespace spillway::sim
