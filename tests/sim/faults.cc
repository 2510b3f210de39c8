// SPDX-License-Identifier: Apache-2.0
#include "faults.h"

#include "world.h"

namespace spillway::sim {

using std::chrono::microseconds;
using std::chrono::milliseconds;

Duration Faults::soon()
{
  const std::uint64_t most = world_.rng().chance(0.5) ? 8'000 : 120'000;
  return microseconds(200 + world_.rng().below(most));
}

void Faults::plan()
{
  const Setup& setup = world_.setup();
  const MonotonicTime first =
      MonotonicTime{} + (world_.rng().chance(0.2) ? milliseconds(0) : milliseconds(60));
  const auto span = static_cast<std::uint64_t>(setup.trouble / microseconds(1));
  // In clusters: what goes wrong goes wrong together.
  MonotonicTime when = first;
  for (int i = 0; i < setup.faults; ++i)
  {
    if (i == 0 || world_.rng().chance(0.6))
      when = first + microseconds(world_.rng().below(span));
    else
      when += microseconds(world_.rng().below(4'000));
    world_.schedule().at(when, [this] {
      const double what = world_.rng().unit();
      switch (world_.setup().kind)
      {
        case Setup::Kind::kQuiet:
          return wish();
        case Setup::Kind::kRestarts:
          return what < 0.6 ? wish() : restart_something();
        case Setup::Kind::kFaults:
          return what < 0.3 ? wish() : what < 0.45 ? restart_something() : fault();
      }
    });
  }
}

int Faults::somebody()
{
  std::vector<int> alive;
  for (int i = 0; i < world_.process_count(); ++i)
    if (world_.process(i).alive()) alive.push_back(i);
  return alive.empty() ? -1 : world_.rng().pick(alive);
}

void Faults::start()
{
  int alive = 0;
  for (int i = 0; i < world_.process_count(); ++i) alive += world_.process(i).alive() ? 1 : 0;
  if (alive < world_.setup().most_processes && world_.process_count() < world_.setup().most_started)
    world_.start_process();
}

void Faults::leave()
{
  const int who = somebody();
  int staying = 0;
  for (int i = 0; i < world_.process_count(); ++i)
    staying += world_.process(i).alive() && !world_.process(i).leaving() ? 1 : 0;
  // Somebody stays, else the job has nothing more to do.
  if (who < 0 || staying < 2) return;
  world_.process(who).ask_to_leave(world_.rng().chance(0.3));
}

void Faults::wish()
{
  const double what = world_.rng().unit();
  if (what < 0.4)
    world_.count_fault("start", false), start();
  else if (what < 0.75)
    world_.count_fault("leave", world_.setup().membership.min_members > 1), leave();
  else
  {
    world_.count_fault("plan", false);
    world_.coordinator().request(PlanRequested{"a new plan", world_.rng().chance(0.4)});
  }
}

void Faults::restart_something()
{
  using Crash = CoordinatorHost::Crash;
  // With short timeouts a member that comes back late is a fault.
  const bool seen = world_.setup().kind == Setup::Kind::kFaults;
  const double what = world_.rng().unit();
  if (what < 0.3)
    world_.count_fault("coordinator.crash", seen), world_.coordinator().crash(Crash::kNow);
  else if (what < 0.5)
    world_.count_fault("coordinator.before_write", seen),
        world_.coordinator().crash(Crash::kBeforeWrite);
  else if (what < 0.7)
    world_.count_fault("coordinator.after_write", seen),
        world_.coordinator().crash(Crash::kAfterWrite);
  else if (what < 0.73 && !world_.over())
    world_.count_fault("store.lost", true), world_.coordinator().loses_store();
  else if (what < 0.78)
    world_.count_fault("stray.abort", false), stray_abort();
  else if (what < 0.85)
    world_.count_fault("store.fails", seen), world_.coordinator().store_fails_for(soon());
  else
    world_.count_fault("coordinator.deposed", seen), world_.coordinator().depose(soon());
}

// Of another job under the same name.
void Faults::stray_abort()
{
  const int who = somebody();
  MembershipCore* leader = world_.coordinator().leader();
  if (leader != nullptr && leader->record().newest && world_.rng().chance(0.5))
  {
    Hello hello{.worker = WorkerId(1), .info = {}, .status = {}, .members = {}};
    hello.status.lineage = Lineage(4);
    return world_.coordinator().request(WorkerGreeted{~std::uint64_t{0}, hello});
  }
  if (who < 0) return;
  world_.process(who).when_running([this, who] {
    world_.process(who).received(Abort{EpochName::one_site(Lineage(4), Number(1'000'000))});
  });
}

void Faults::fault()
{
  const double what = world_.rng().unit();
  const int who = somebody();
  if (who < 0) return;
  if (what < 0.25)
    kill(world_.rng().chance(0.75));
  else if (what < 0.35)
    pause();
  else if (what < 0.5)
    cut_pair();
  else if (what < 0.65)
    cut_off();
  else if (what < 0.75)
    partition();
  else if (what < 0.85)
    world_.count_fault("connection", true), world_.control().break_connection(who);
  else if (what < 0.93)
    world_.count_fault("apply", true), world_.process(who).fail_next_apply();
  else if (what < 0.98)
    hang();
  else
    world_.count_fault("silent", true), world_.coordinator().agent_silent(who);
}

void Faults::kill(bool agent_sees)
{
  const int who = somebody();
  world_.count_fault(agent_sees ? "kill" : "kill.with_agent", true);
  world_.process(who).kill(agent_sees);
  if (agent_sees && world_.rng().chance(0.7)) world_.schedule().after(soon(), [this] { start(); });
  // An operator sees what no agent tells.
  if (!agent_sees && world_.rng().chance(0.5))
    world_.schedule().after(2 * soon(), [this, who] {
      world_.coordinator().request(
          WorkerExited{world_.process(who).worker(), "an operator abandons it"});
    });
}

void Faults::pause()
{
  const int who = somebody();
  world_.count_fault("pause", true);
  world_.process(who).pause();
  world_.coordinator().report_silent(who);
  if (world_.rng().chance(0.5))
    world_.schedule().after(soon(), [this, who] { world_.process(who).resume(); });
}

void Faults::hang()
{
  const int who = somebody();
  world_.count_fault("hang", true);
  world_.process(who).hang();
  if (world_.rng().chance(0.5))
    world_.schedule().after(soon(), [this, who] { world_.process(who).unhang(); });
}

void Faults::heal_later(int from, int to)
{
  if (world_.rng().chance(0.5))
    world_.schedule().after(soon(), [this, from, to] { world_.network().heal(from, to); });
}

void Faults::cut_pair()
{
  const int a = somebody(), b = somebody();
  if (a == b) return;
  world_.count_fault("cut.pair", true);
  world_.network().cut(a, b);
  heal_later(a, b);
  if (world_.rng().chance(0.3)) return;
  world_.network().cut(b, a);
  heal_later(b, a);
}

void Faults::cut_off()
{
  const int who = somebody();
  const bool from_all = world_.rng().chance(0.4);
  world_.count_fault(from_all ? "cut.from_all" : "cut.from_coordinator", true);
  for (int other = kCoordinator; other < (from_all ? world_.process_count() : 0); ++other)
  {
    if (other == who) continue;
    if (!world_.rng().chance(0.2)) world_.network().cut(who, other), heal_later(who, other);
    if (!world_.rng().chance(0.2)) world_.network().cut(other, who), heal_later(other, who);
  }
}

void Faults::partition()
{
  world_.count_fault("partition", true);
  std::vector<bool> side;
  for (int i = kCoordinator; i < world_.process_count(); ++i)
    side.push_back(world_.rng().chance(0.5));
  const bool heals = world_.rng().chance(0.5);
  const Duration when = soon();
  for (int a = kCoordinator; a < world_.process_count(); ++a)
    for (int b = kCoordinator; b < world_.process_count(); ++b)
    {
      if (side[static_cast<std::size_t>(a + 1)] == side[static_cast<std::size_t>(b + 1)]) continue;
      world_.network().cut(a, b);
      if (heals) world_.schedule().after(when, [this, a, b] { world_.network().heal(a, b); });
    }
}

}  // namespace spillway::sim
