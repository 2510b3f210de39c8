// SPDX-License-Identifier: Apache-2.0
#include "world.h"

#include <algorithm>
#include <cmath>

#include "faults.h"

namespace spillway::sim {

using std::chrono::microseconds;
using std::chrono::milliseconds;
using std::chrono::seconds;

std::map<std::string, std::uint64_t> Branches::by_name() const
{
  std::map<std::string, std::uint64_t> out;
  for (const auto& [name, count] : hits_) out[name] += count;
  return out;
}

World::World(const Setup& setup, Branches& branches, bool trace)
    : setup_(setup),
      rng_(philox_u64(setup.seed, 2)),
      branches_(branches),
      trace_(trace),
      all_rules_on_(std::all_of(protocol_rule_switches().begin(), protocol_rule_switches().end(),
                                [&](const RuleSwitch& rule) { return setup.rules.*rule.field; })),
      ledger_({{0, 0, kBatch}}),
      network_(*this),
      control_(*this),
      coordinator_(*this)
{
}

int World::index_of(WorkerId worker) const
{
  const auto at = indices_.find(worker);
  return at == indices_.end() ? -1 : at->second;
}

MemberInfo World::info(int index) const
{
  return {.worker = {},
          .node = NodeId(static_cast<std::uint64_t>(index) + 1),
          .address = absl::StrCat("process-", index)};
}

// Exponential around a mean per lane; some lanes are slow for a while.
Duration World::delay(Lane lane, int a, int b)
{
  static constexpr std::array<int, 10> kMicroseconds = {300,  500, 500,  1000, 300,
                                                        1000, 700, 3000, 3000, 200};
  double slow = 1;
  if (setup_.slow_lanes)
  {
    static constexpr std::array<double, 4> kSlow = {1, 1, 7, 50};
    if (rng_.chance(0.002)) slowness_.clear();
    const auto [at, fresh] = slowness_.try_emplace({static_cast<int>(lane), a, b}, 1.0);
    if (fresh) at->second = kSlow[static_cast<std::size_t>(rng_.below(kSlow.size()))];
    slow = at->second;
  }
  const double mean = kMicroseconds[static_cast<std::size_t>(lane)] * slow;
  if (setup_.scripted) return microseconds(static_cast<std::int64_t>(mean));
  return microseconds(1 + static_cast<std::int64_t>(-mean * std::log(1 - rng_.unit())));
}

int World::start_process()
{
  const int index = process_count();
  processes_.push_back(std::make_unique<Process>(*this, index));
  trace("process ", index, " starts");
  processes_.back()->start();
  return index;
}

void World::activated(WorkerId worker, Number number, StateName base)
{
  bases_.try_emplace(number, base);
  ledger_.activated(worker, number, base);
}

void World::number_formed(Number number, StateName base, const MembershipExplanation& known)
{
  bases_.try_emplace(number, base);
  // Who was declared dead by the lease, rightly, is not protected. Who was declared dead and is in
  // no list any more is forgotten.
  for (const auto& process : processes_)
  {
    const WorkerId worker = process->worker();
    if (!process->alive() || !worker) continue;
    const auto at = std::find_if(known.members.begin(), known.members.end(),
                                 [&](const auto& m) { return m.info.worker == worker; });
    const bool thought_alive = at != known.members.end() && !at->dead;
    if (!thought_alive && now() - heard_[process->index()] >= setup_.membership.lease)
      ledger_.declared_dead(worker);
  }
  ledger_.formed(number, base);
}

void World::applied(WorkerId worker, StateName name, std::uint64_t hash)
{
  ledger_.applied(worker, name, hash);
  applied_[name.number] = std::max(applied_[name.number], name.step);
  highest_ = std::max(highest_, name.step);
}

void World::process_exited(int, EndReason) {}

void World::refused(int index)
{
  trace("process ", index, " is refused");
  process(index).kill(true);
}

void World::job_ended(EndReason reason)
{
  trace("the job has ended: ", end_reason_name(reason));
  ended_ = reason;
  if (reason == EndReason::kStateLost)
  {
    ledger_.restore_needed("the coordinator found the state lost");
    if (holder_lives()) ledger_.stuck("the job ended as state lost although a holder lives");
  }
}

void World::rule_broken(const std::string& text)
{
  trace("RULE BROKEN: ", text);
  broken_ = text;
}

void World::exits_are_reported_again()
{
  for (const auto& process : processes_)
    if (repaired_ && !process->alive() && !process->agent_alive() && process->worker())
      coordinator_.request(WorkerExited{process->worker(), "an operator abandons it"});
  for (const auto& process : processes_)
    if (!process->alive() && process->agent_alive() && process->worker())
      coordinator_.report_exit(process->index());
}

// A store that has lost its record must meet those it forgot before it meets new ones.
bool World::may_greet(int index)
{
  const MembershipCore* leader = coordinator_.leader();
  return bases_.empty() || processes_[static_cast<std::size_t>(index)]->core() != nullptr ||
         (leader != nullptr && leader->record().last_number);
}

void World::count_fault(const char* kind, bool may_abort)
{
  trace("FAULT ", kind);
  ++outcome_.faults;
  ++outcome_.fault_kinds[kind];
  if (may_abort) ledger_.fault();
}

// Whether somebody alive holds the newest state, as only an onlooker can tell.
bool World::holder_lives()
{
  if (bases_.empty()) return true;
  const auto& [newest, base] = *bases_.rbegin();
  for (const auto& process : processes_)
  {
    if (!process->alive() || process->core() == nullptr || !process->state()) continue;
    // Who was silent beyond the lease may rightly have been declared dead.
    if (now() - heard_[process->index()] >= setup_.membership.lease) continue;
    if (process->core()->status().installed == newest) return true;
    // Which base a number had is lost with a store.
    if (!coordinator_.lost_store() && !applied_.contains(newest) &&
        (process->state() == base || process->kept() == base))
      return true;
  }
  return false;
}

bool World::run_until(MonotonicTime when)
{
  // The clock stops here even if the next thing is far away.
  schedule_.at(when, [] {});
  while (now() < when && !failed())
    if (!schedule_.next()) return false;
  return !failed();
}

bool World::run_until(const std::function<bool()>& reached, MonotonicTime then)
{
  schedule_.at(then, [] {});
  while (!reached())
    if (now() >= then || failed() || !schedule_.next()) return false;
  return true;
}

void World::release_held()
{
  for (const auto& process : processes_) process->release_held();
  for (const auto& process : processes_) network_.wake(process->index());
  control_.release_held();
}

std::vector<int> World::wanted()
{
  std::vector<int> out;
  for (const auto& process : processes_)
  {
    if (!process->alive() || process->leaving()) continue;
    const int self = process->index();
    const bool cut =
        std::any_of(network_.cuts().begin(), network_.cuts().end(),
                    [&](const auto& c) { return c.first == self || c.second == self; });
    if (!cut) out.push_back(self);
  }
  return out;
}

// Faults are over: what is broken is mended, but for a pair that stays unreachable.
void World::repair()
{
  repaired_ = true;
  holds_.clear();
  release_held();
  std::vector<int> healthy = wanted();
  coordinator_.mend();
  network_.heal_all();
  for (const auto& process : processes_)
  {
    if (process->condemned()) process->kill(true);
    process->resume();
    process->unhang();
    if (!process->alive() && process->worker() && !process->agent_alive())
      coordinator_.request(WorkerExited{process->worker(), "an operator abandons it"});
  }
  healthy = wanted();
  while (!setup_.no_replacements &&
         healthy.size() < setup_.membership.min_members + (setup_.lasting_pair ? 2 : 0))
    healthy.push_back(start_process());
  enough_ = healthy.size() >= setup_.membership.min_members;
  if (setup_.lasting_pair && healthy.size() > setup_.membership.min_members)
  {
    const int a = rng_.pick(healthy);
    std::erase(healthy, a);
    const int b = rng_.pick(healthy);
    count_fault("cut.lasting", true);
    network_.cut(a, b);
    if (rng_.chance(0.7)) network_.cut(b, a);
  }
  trace("REPAIRED");
}

// All who can be members are, in one number, and it steps.
bool World::went_on()
{
  Number newest;
  for (const auto& process : processes_)
    if (process->alive() && process->core() != nullptr)
      newest = std::max(newest, process->core()->current());
  std::size_t members = 0;
  const auto inside = [&](const Process& process) {
    const MemberCore* core = process.core();
    if (core == nullptr || core->current() != newest || !newest) return false;
    members = core->members()->size();
    return !core->stopped() && core->status().installed == newest;
  };
  const std::vector<int> healthy = wanted();
  const auto in = std::count_if(healthy.begin(), healthy.end(),
                                [&](int index) { return inside(process(index)); });
  const auto all = static_cast<std::ptrdiff_t>(healthy.size());
  return in == all || members >= setup_.membership.max_members;
}

// The store is lost, and so is everybody who could have said what was in it.
bool World::all_forgotten()
{
  const MembershipCore* leader = coordinator_.leader();
  return coordinator_.lost_store() && leader != nullptr && !leader->record().last_number &&
         std::none_of(processes_.begin(), processes_.end(),
                      [](const auto& p) { return p->alive() && p->core() != nullptr; });
}

void World::settle()
{
  repair();
  if (all_forgotten()) return;
  const StepId before = highest_;
  const MonotonicTime patience = now() + seconds(40);
  while (now() < patience && !failed() && !ended_)
  {
    if (!wants_last_step_ && highest_.value() >= before.value() + 2 && went_on())
    {
      trace("WENT ON");
      wants_last_step_ = true;
    }
    if (!run_until(now() + milliseconds(3))) break;
  }
  // Everybody is released.
  const auto gone = [&] {
    return std::none_of(processes_.begin(), processes_.end(),
                        [](const auto& p) { return p->alive(); });
  };
  while (ended_ && now() < patience && !gone() && run_until(now() + milliseconds(20)))
  {
  }
  if (failed()) return;
  if (!ended_ && enough_ && holder_lives())
    ledger_.stuck(absl::StrCat("no end after the faults: highest applied step ", highest_.value(),
                               ", when they ended ", before.value()));
  if (ended_ && !gone()) ledger_.stuck("the job has ended and a process was not released");
}

void World::trace_everybody()
{
  if (!trace_) return;
  for (const auto& process : processes_)
  {
    if (!process->alive() || process->core() == nullptr) continue;
    const MemberStatus& s = process->core()->status();
    trace("process ", process->index(), " worker ", process->worker().value(), " promised ",
          s.promised.value(), " installed ", s.installed.value(), " current ", s.current.value(),
          " applied ", s.applied ? to_string(*s.applied) : "none", " voted ",
          s.voted ? to_string(*s.voted) : "none", " left ", s.left.value(), " done ",
          s.done.value(), s.fault ? " fault" : "", " last step ", s.last_step.value(),
          process->paused() ? " paused" : "", process->hanging() ? " hangs" : "",
          process->leaving() ? " leaving" : "");
  }
  if (const MembershipCore* leader = coordinator_.leader(); leader != nullptr)
  {
    const MembershipExplanation known = leader->explain(now());
    trace("coordinator: ", known.next);
    for (WorkerId worker : known.waiting_for) trace("  waits for worker ", worker.value());
  }
}

void World::judge_end()
{
  trace_everybody();
  outcome_.end = ended_ ? end_reason_name(*ended_) : holder_lives() ? "stuck" : "no holder";
  if (ended_ == EndReason::kTooFewMembers && !failed() && enough_ && !all_forgotten())
    ledger_.stuck("the job ended as too few members although enough are here");
}

Outcome World::run()
{
  begin();
  for (int i = 0; i < setup_.first_processes; ++i) start_process();
  Faults faults(*this);
  faults.plan();
  run_until(MonotonicTime{} + setup_.trouble + milliseconds(100));
  return finish();
}

Outcome World::finish()
{
  if (!failed()) settle();
  judge_end();
  outcome_.findings = ledger_.findings();
  outcome_.broken = broken_;
  outcome_.applied_steps = highest_.value();
  outcome_.events = schedule_.done();
  return outcome_;
}

}  // namespace spillway::sim
