// SPDX-License-Identifier: Apache-2.0
#include "coordinator_host.h"

#include "spillway/base/check.h"
#include "world.h"

namespace spillway::sim {

using std::chrono::milliseconds;

MonotonicTime CoordinatorHost::now() const
{
  return world_.now();
}

int CoordinatorHost::accepting() const
{
  if (instances_.empty() || !instances_.back()->up) return -1;
  return static_cast<int>(instances_.size()) - 1;
}

MembershipCore* CoordinatorHost::leader()
{
  return up() ? instances_.back()->core.get() : nullptr;
}

void CoordinatorHost::start()
{
  std::optional<JobRecord> record;
  if (store_)
  {
    // Through the bytes of the store, as in life.
    const std::string bytes = store_->encode();
    auto decoded = JobRecord::decode(as_bytes(bytes));
    SPILLWAY_CHECK(decoded.ok(), decoded.status().message());
    record = *std::move(decoded);
  }
  auto instance = std::make_unique<Instance>();
  instance->core = std::make_unique<MembershipCore>(world_.setup().membership, std::move(record),
                                                    Lineage(world_.rng().next() | 1), now(),
                                                    world_.setup().rules, &world_.branches());
  instances_.push_back(std::move(instance));
  world_.trace("coordinator life ", instances_.size(), " begins");
  set_tick(accepting());
  world_.exits_are_reported_again();
}

void CoordinatorHost::die(int instance)
{
  Instance& dying = *instances_[static_cast<std::size_t>(instance)];
  if (!std::exchange(dying.up, false)) return;
  world_.trace("coordinator life ", instance + 1, " ends");
  dying.events.clear();
  dying.actions.clear();
  world_.control().coordinator_died(instance);
}

void CoordinatorHost::restart_later()
{
  world_.schedule().after(4 * world_.delay(Lane::kNotice, kCoordinator, kCoordinator), [this] {
    if (!up()) start();
  });
}

void CoordinatorHost::crash(Crash when)
{
  if (when != Crash::kNow)
  {
    crash_at_write_ = when;
    return;
  }
  if (!up()) return;
  die(accepting());
  restart_later();
}

void CoordinatorHost::mend()
{
  crash_at_write_.reset();
  if (!up()) start();
}

void CoordinatorHost::depose(Duration lives_on)
{
  if (!up()) return;
  const int old = accepting();
  instances_.back()->leads = false;
  world_.schedule().after(lives_on, [this, old] { die(old); });
  start();
}

void CoordinatorHost::feed(int instance, MembershipEvent event)
{
  Instance& self = *instances_[static_cast<std::size_t>(instance)];
  if (!self.up) return;
  self.events.push_back(std::move(event));
  if (!self.blocked) run(instance);
}

void CoordinatorHost::run(int instance)
{
  Instance& self = *instances_[static_cast<std::size_t>(instance)];
  if (self.blocked) return;
  self.blocked = true;  // against being entered again
  while (self.up)
  {
    while (!self.actions.empty())
    {
      const MembershipAction action = std::move(self.actions.front());
      self.actions.pop_front();
      if (!act(instance, action)) return;
      if (!self.up) return;
    }
    if (self.events.empty()) break;
    const MembershipEvent event = std::move(self.events.front());
    self.events.pop_front();
    for (MembershipAction& action : self.core->step(event, now()))
      self.actions.push_back(std::move(action));
  }
  self.blocked = false;
  set_tick(instance);
}

void CoordinatorHost::set_tick(int instance)
{
  Instance& self = *instances_[static_cast<std::size_t>(instance)];
  const MonotonicTime next = self.core->next_deadline();
  if (!self.up || next == kForever || (next >= self.tick_at && self.tick_at > now())) return;
  self.tick_at = next;
  world_.schedule().at(next, [this, instance, next] {
    Instance& due = *instances_[static_cast<std::size_t>(instance)];
    if (due.tick_at != next) return;
    due.tick_at = kForever;
    feed(instance, Tick{});
  });
}

bool CoordinatorHost::act(int instance, const MembershipAction& action)
{
  Instance& self = *instances_[static_cast<std::size_t>(instance)];
  if (const auto* persisted = std::get_if<Persist>(&action)) return persist(instance, *persisted);
  if (const auto* message = std::get_if<Send>(&action)) send(instance, *message);
  if (const auto* accepted = std::get_if<Accept>(&action)) accept(instance, *accepted);
  if (const auto* refuse = std::get_if<Refuse>(&action))
  {
    world_.trace("refused: ", refuse->status.message());
    world_.control().send_down(refuse->token, Refused{});
  }
  if (const auto* old = std::get_if<RecordIsOld>(&action))
  {
    // A deposed one meets workers that have gone on without it; the one that leads never does.
    if (self.leads) world_.rule_broken(absl::StrCat("the record is old: ", old->why));
    die(instance);
  }
  if (const auto* decision = std::get_if<Decision>(&action))
    world_.trace("  coordinator: ", decision->rule, ": ", decision->text);
  if (const auto* eviction = std::get_if<Evict>(&action))
  {
    self.said_silent.insert(eviction->worker);
    evict(eviction->worker);
  }
  if (const auto* ended = std::get_if<JobEnded>(&action)) world_.job_ended(ended->reason);
  return true;
}

// Who greets with its id is known by its newest connection as soon as that is heard; the greeting
// that is answered here may have waited for the store, and be an older one.
void CoordinatorHost::accept(int instance, const Accept& action)
{
  Instance& self = *instances_[static_cast<std::size_t>(instance)];
  world_.control().send_down(action.token, AcceptedAs{action.worker, action.lineage});
  if (self.nameless.erase(action.token) == 0) return;
  self.connections[action.worker] = action.token;
  self.workers[action.token] = action.worker;
  // It may have waited longer than its connection stood.
  if (!world_.control().stands(action.token)) connection_lost(instance, action.token);
}

bool CoordinatorHost::persist(int instance, const Persist& action)
{
  Instance& self = *instances_[static_cast<std::size_t>(instance)];
  if (!self.leads)
  {
    // Refused by the term: it says nothing more.
    self.actions.clear();
    self.events.clear();
    return false;
  }
  if (now() < store_fails_until_)
  {
    self.actions.push_front(action);
    world_.schedule().at(store_fails_until_, [this, instance] {
      instances_[static_cast<std::size_t>(instance)]->blocked = false;
      run(instance);
    });
    return false;
  }
  if (crash_at_write_ == Crash::kBeforeWrite)
  {
    crash_at_write_.reset();
    crash(Crash::kNow);
    return false;
  }
  write(instance, action.record);
  if (crash_at_write_ != Crash::kAfterWrite) return true;
  crash_at_write_.reset();
  crash(Crash::kNow);
  return false;
}

// The record is durable now, and with it what it says.
void CoordinatorHost::write(int instance, const JobRecordPtr& record)
{
  store_ = *record;
  for (const auto& [number, content] : record->numbers)
  {
    world_.ledger().published(number, content.members->hash().low);
    if (content.kind != NumberRecord::Kind::kFormed || !told_.insert(number).second) continue;
    world_.number_formed(number, *content.base,
                         instances_[static_cast<std::size_t>(instance)]->core->explain(now()));
  }
}

void CoordinatorHost::send(int instance, const Send& action)
{
  Instance& self = *instances_[static_cast<std::size_t>(instance)];
  if (const auto* abort = std::get_if<Abort>(&action.message))
    world_.ledger().aborted(abort->name.job_epoch);
  for (WorkerId worker : action.to)
  {
    const auto at = self.connections.find(worker);
    if (at != self.connections.end()) world_.control().send_down(at->second, action.message);
  }
}

void CoordinatorHost::receive(int instance, std::uint64_t connection, int process,
                              const UpMessage& message)
{
  Instance& self = *instances_[static_cast<std::size_t>(instance)];
  if (!self.up) return;
  if (const auto* hello = std::get_if<Hello>(&message))
  {
    if (const auto old = self.connections.find(hello->worker); old != self.connections.end())
    {
      // It is closed, as a stream is: should its greeting be the newer one, overtaken on its way,
      // the process sees that and greets again.
      world_.control().close(old->second);
      self.workers.erase(old->second);
      self.connections.erase(old);
      feed(instance, WorkerDisconnected{hello->worker});
    }
    if (hello->worker)
    {
      self.connections[hello->worker] = connection;
      self.workers[connection] = hello->worker;
    }
    else
      self.nameless.insert(connection);
    self.said_silent.erase(hello->worker);
    feed(instance, WorkerGreeted{connection, *hello});
    if (world_.process(process).condemned()) silent(process, "its agent kills it");
    return;
  }
  const auto at = self.workers.find(connection);
  if (const auto* beat = std::get_if<Heartbeat>(&message))
  {
    if (!self.leads || self.blocked || at == self.workers.end()) return;
    world_.heard(process, beat->sent);
    if (self.said_silent.contains(at->second)) return;
    return world_.control().send_down(connection, HeartbeatAck{beat->sent});
  }
  if (at == self.workers.end()) return;
  const WorkerId worker = at->second;
  if (self.said_silent.contains(worker)) return;
  if (const auto* status = std::get_if<MemberStatus>(&message))
    feed(instance, StatusReported{worker, *status});
  if (const auto* report = std::get_if<ProgressReport>(&message))
    feed(instance, ProgressReported{worker, *report});
  if (const auto* result = std::get_if<ProbeResult>(&message))
    feed(instance, ProbeReported{worker, *result});
}

void CoordinatorHost::connection_lost(int instance, std::uint64_t connection)
{
  Instance& self = *instances_[static_cast<std::size_t>(instance)];
  const auto at = self.workers.find(connection);
  if (!self.up || at == self.workers.end()) return;
  const WorkerId worker = at->second;
  self.workers.erase(at);
  if (self.connections[worker] != connection) return;
  self.connections.erase(worker);
  feed(instance, WorkerDisconnected{worker});
}

void CoordinatorHost::request(MembershipEvent event)
{
  if (up()) feed(accepting(), std::move(event));
}

void CoordinatorHost::report_exit(int process)
{
  world_.schedule().after(world_.delay(Lane::kAgent, process, kCoordinator), [this, process] {
    if (!up() || !world_.network().reachable(process, kCoordinator)) return report_exit(process);
    world_.control().end_reported(process);
    request(WorkerExited{world_.process(process).worker(), "its agent reaped it"});
  });
}

void CoordinatorHost::report_silent(int process)
{
  world_.schedule().after(2 * world_.delay(Lane::kAgent, process, kCoordinator), [this, process] {
    Process& stopped = world_.process(process);
    if (!stopped.paused() || !stopped.worker()) return;
    if (!up() || !world_.network().reachable(process, kCoordinator)) return report_silent(process);
    stopped.condemn();
    silent(process, "stopped");
  });
}

void CoordinatorHost::silent(int process, const std::string& why)
{
  if (!up() || !world_.process(process).worker()) return;
  instances_.back()->said_silent.insert(world_.process(process).worker());
  request(WorkerSilent{world_.process(process).worker(), why});
}

void CoordinatorHost::agent_silent(int process)
{
  const WorkerId worker = world_.process(process).worker();
  if (!up() || !worker) return;
  Instance& self = *instances_.back();
  if (const auto at = self.connections.find(worker); at != self.connections.end())
  {
    world_.control().close(at->second);
    self.workers.erase(at->second);
    self.connections.erase(at);
    request(WorkerDisconnected{worker});
  }
  request(WorkerSilent{worker, "its agent is silent"});
}

void CoordinatorHost::loses_store()
{
  if (!up() || !store_ || !store_->newest) return;
  crash(Crash::kNow);
  store_.reset();
  lost_store_ = true;
  watch_adoption(0);
}

// The operator looks now and then. Whom no agent hears any more he abandons afterwards.
void CoordinatorHost::watch_adoption(int polls)
{
  world_.schedule().after(milliseconds(20), [this, polls] {
    // What is adopted and not stored dies with this life.
    if (up() && store_ && store_->last_number)
    {
      world_.exits_are_reported_again();
      return;
    }
    Lineage lineage;
    bool all = up();
    for (int i = 0; i < world_.process_count(); ++i)
    {
      const Process& process = world_.process(i);
      if (!process.alive() || process.core() == nullptr) continue;
      lineage = process.core()->status().lineage;
      all = all && instances_.back()->connections.contains(process.worker());
    }
    if (all && lineage && polls > 5) request(AdoptRequested{lineage});
    watch_adoption(polls + 1);
  });
}

void CoordinatorHost::evict(WorkerId worker)
{
  const int process = world_.index_of(worker);
  world_.schedule().after(2 * world_.delay(Lane::kAgent, process, kCoordinator), [this, process] {
    if (world_.process(process).agent_alive()) world_.process(process).condemn();
  });
}

}  // namespace spillway::sim
