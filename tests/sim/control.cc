// SPDX-License-Identifier: Apache-2.0
#include "control.h"

#include <algorithm>

#include "world.h"

namespace spillway::sim {

ControlPlane::Connection* ControlPlane::of(int process)
{
  const auto at = newest_.find(process);
  if (at == newest_.end()) return nullptr;
  const auto found = connections_.find(at->second);
  return found == connections_.end() || !found->second.member_sees_it ? nullptr : &found->second;
}

void ControlPlane::connect(int process)
{
  world_.process(process).later(Lane::kNotice, [this, process] { try_connect(process); });
}

void ControlPlane::try_connect(int process)
{
  if (of(process) != nullptr) return;
  const int instance = world_.coordinator().accepting();
  if (instance < 0 || !world_.network().reachable(process, kCoordinator) ||
      !world_.may_greet(process))
    return connect(process);
  Connection connection;
  connection.id = ++last_id_;
  connection.process = process;
  connection.instance = instance;
  newest_[process] = connection.id;
  world_.trace("process ", process, " connects to life ", instance + 1);
  connections_[connection.id] = std::move(connection);
  world_.process(process).connection_up();
  beat(last_id_);
}

void ControlPlane::beat(std::uint64_t id)
{
  const auto at = connections_.find(id);
  if (at == connections_.end() || !at->second.member_sees_it) return;
  const int process = at->second.process;
  if (world_.process(process).running() && world_.process(process).core() != nullptr)
    send_up(process, Heartbeat{world_.now()});
  const Duration pause = world_.process(process).core() != nullptr ? world_.setup().heartbeat
                                                                   : std::chrono::milliseconds(20);
  world_.schedule().after(pause, [this, id, process] {
    world_.process(process).when_running([this, id] { beat(id); });
  });
}

void ControlPlane::send_up(int process, UpMessage message)
{
  Connection* connection = of(process);
  if (connection == nullptr) return;
  if (world_.process(process).condemned() && !std::holds_alternative<Hello>(message)) return;
  MonotonicTime due = world_.now() + world_.delay(Lane::kControlUp, process, kCoordinator);
  if (!connection->up.empty()) due = std::max(due, connection->up.back().first);
  connection->up.emplace_back(due, std::move(message));
  world_.schedule().at(due, [this, id = connection->id] { pump_up(id); });
}

void ControlPlane::pump_up(std::uint64_t id)
{
  while (true)
  {
    const auto at = connections_.find(id);
    if (at == connections_.end() || !at->second.coordinator_sees_it) return;
    Connection& connection = at->second;
    if (connection.up.empty() || connection.up.front().first > world_.now() ||
        world_.network().is_cut(connection.process, kCoordinator) ||
        world_.holds().holds(happening_up(connection.process, connection.up.front().second)))
      return;
    const UpMessage message = std::move(connection.up.front().second);
    connection.up.pop_front();
    world_.coordinator().receive(connection.instance, id, connection.process, message);
  }
}

void ControlPlane::send_down(std::uint64_t id, DownMessage message)
{
  const auto at = connections_.find(id);
  if (at == connections_.end()) return;
  Connection& connection = at->second;
  MonotonicTime due =
      world_.now() + world_.delay(Lane::kControlDown, connection.process, kCoordinator);
  if (!connection.down.empty()) due = std::max(due, connection.down.back().first);
  connection.down.emplace_back(due, std::move(message));
  world_.schedule().at(due, [this, id] { pump_down(id); });
}

void ControlPlane::pump_down(std::uint64_t id)
{
  while (true)
  {
    const auto at = connections_.find(id);
    if (at == connections_.end() || !at->second.member_sees_it) return;
    Connection& connection = at->second;
    if (connection.down.empty() || connection.down.front().first > world_.now() ||
        !world_.process(connection.process).running() ||
        world_.network().is_cut(kCoordinator, connection.process) ||
        world_.holds().holds(happening(connection.process, connection.down.front().second)))
      return;
    const DownMessage message = std::move(connection.down.front().second);
    connection.down.pop_front();
    const int process = connection.process;
    deliver(process, message);
    if (comes_twice(message))
      world_.schedule().after(3 * world_.delay(Lane::kControlDown, process, kCoordinator),
                              [this, process, message] { deliver(process, message); });
  }
}

// A copy of what was said to a member may come late, but no stream brings it before the first.
bool ControlPlane::comes_twice(const DownMessage& message) const
{
  return world_.setup().duplicates && std::holds_alternative<ControlMessage>(message) &&
         !std::holds_alternative<Release>(std::get<ControlMessage>(message)) &&
         world_.rng().chance(0.1);
}

void ControlPlane::deliver(int process, const DownMessage& message)
{
  Process& to = world_.process(process);
  to.when_running([this, &to, message] {
    if (const auto* control = std::get_if<ControlMessage>(&message))
      to.received(*control);
    else if (const auto* accepted = std::get_if<AcceptedAs>(&message))
      to.accepted(accepted->worker, accepted->lineage);
    else if (const auto* ack = std::get_if<HeartbeatAck>(&message))
      to.lease_extended(ack->sent + world_.setup().member_lease);
    else
      world_.refused(to.index());
  });
}

void ControlPlane::lose_at_member(Connection& connection)
{
  if (!std::exchange(connection.member_sees_it, false)) return;
  const int process = connection.process;
  world_.trace("process ", process, " sees its connection lost");
  // What was under way towards the member may come at any later time.
  for (auto& [due, message] : connection.down)
    if (world_.holds().holds(happening(process, message)))
      late_.emplace_back(process, std::move(message));
    else if (std::holds_alternative<ControlMessage>(message) && world_.by_chance(0.5))
      world_.schedule().after(
          5 * world_.delay(Lane::kControlDown, process, kCoordinator),
          [this, process, late = std::move(message)] { deliver(process, late); });
  connection.down.clear();
  world_.process(process).when_running([this, process] {
    world_.process(process).connection_down();
    connect(process);
  });
}

void ControlPlane::lose_at_coordinator(Connection& connection)
{
  if (!std::exchange(connection.coordinator_sees_it, false)) return;
  connection.up.clear();
  world_.trace("coordinator sees the connection of process ", connection.process, " lost");
  world_.coordinator().connection_lost(connection.instance, connection.id);
}

void ControlPlane::break_connection(int process)
{
  Connection* connection = of(process);
  if (connection == nullptr) return;
  const std::uint64_t id = connection->id;
  world_.schedule().after(world_.delay(Lane::kNotice, process, kCoordinator), [this, id] {
    const auto at = connections_.find(id);
    if (at != connections_.end()) lose_at_member(at->second);
  });
  world_.schedule().after(world_.delay(Lane::kNotice, process, kCoordinator), [this, id] {
    const auto at = connections_.find(id);
    if (at != connections_.end()) lose_at_coordinator(at->second);
  });
}

bool ControlPlane::stands(std::uint64_t id) const
{
  const auto at = connections_.find(id);
  return at != connections_.end() && at->second.coordinator_sees_it;
}

void ControlPlane::close(std::uint64_t id)
{
  const auto at = connections_.find(id);
  if (at == connections_.end()) return;
  at->second.coordinator_sees_it = false;
  at->second.up.clear();
  world_.schedule().after(world_.delay(Lane::kNotice, at->second.process, kCoordinator),
                          [this, id] { lose_at_member(connections_.at(id)); });
}

void ControlPlane::process_died(int process)
{
  Connection* connection = of(process);
  if (connection == nullptr) return;
  connection->member_sees_it = false;
  connection->down.clear();
  // The last words may be lost, or heard before the connection is seen to be gone.
  std::erase_if(connection->up, [&](const auto& item) {
    return world_.holds().holds(happening_up(process, item.second));
  });
  if (!connection->up.empty()) connection->up.resize(world_.some_of(connection->up.size()));
  world_.schedule().after(2 * world_.delay(Lane::kNotice, process, kCoordinator),
                          [this, id = connection->id] {
                            const auto at = connections_.find(id);
                            if (at != connections_.end()) lose_at_coordinator(at->second);
                          });
}

void ControlPlane::end_reported(int process)
{
  for (auto& [id, connection] : connections_)
    if (connection.process == process) connection.up.clear();
}

void ControlPlane::coordinator_died(int instance)
{
  for (auto& [id, connection] : connections_)
  {
    if (connection.instance != instance || !connection.coordinator_sees_it) continue;
    connection.coordinator_sees_it = false;
    connection.up.clear();
    world_.schedule().after(world_.delay(Lane::kNotice, connection.process, kCoordinator),
                            [this, id = id] { lose_at_member(connections_.at(id)); });
  }
}

void ControlPlane::wake(int process)
{
  Connection* connection = of(process);
  if (connection == nullptr) return;
  const std::uint64_t id = connection->id;
  pump_up(id);
  pump_down(id);
}

void ControlPlane::lose(const Happening& pattern)
{
  const auto lost = [&](const std::optional<Happening>& what) {
    return world_.holds().holds(what) && Holds::fits(pattern, *what);
  };
  for (auto& [id, connection] : connections_)
  {
    const int process = connection.process;
    std::erase_if(connection.up, [&](auto& m) { return lost(happening_up(process, m.second)); });
    std::erase_if(connection.down, [&](auto& m) { return lost(happening(process, m.second)); });
  }
  std::erase_if(late_, [&](auto& m) { return lost(happening(m.first, m.second)); });
}

bool ControlPlane::any_held(const Happening& pattern) const
{
  const auto is = [&](MonotonicTime due, const std::optional<Happening>& what) {
    return due <= world_.now() && world_.holds().holds(what) && Holds::fits(pattern, *what);
  };
  for (const auto& [id, connection] : connections_)
  {
    for (const auto& [due, message] : connection.up)
      if (is(due, happening_up(connection.process, message))) return true;
    for (const auto& [due, message] : connection.down)
      if (is(due, happening(connection.process, message))) return true;
  }
  return false;
}

void ControlPlane::release_held()
{
  std::vector<std::pair<int, DownMessage>> late = std::exchange(late_, {});
  for (auto& [process, message] : late)
    if (world_.holds().holds(happening(process, message)))
      late_.emplace_back(process, std::move(message));
    else
      deliver(process, message);
  for (int process = 0; process < world_.process_count(); ++process) wake(process);
}

}  // namespace spillway::sim
