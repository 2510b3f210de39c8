// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <variant>
#include <vector>

#include "spillway/coordinator/membership.h"

namespace spillway::sim {

class World;
struct Happening;

struct Heartbeat
{
  MonotonicTime sent;
};
struct HeartbeatAck
{
  MonotonicTime sent;
};
struct AcceptedAs
{
  WorkerId worker;
  Lineage lineage;
};
struct Refused
{
};
using UpMessage = std::variant<Hello, MemberStatus, ProgressReport, ProbeResult, Heartbeat>;
using DownMessage = std::variant<ControlMessage, AcceptedAs, Refused, HeartbeatAck>;

// The connections between processes and coordinators. What a coordinator had sent on a connection
// that broke may still arrive long after; what a member had sent does not.
class ControlPlane
{
 public:
  explicit ControlPlane(World& world) : world_(world) {}

  // From the process: keeps trying until it is connected.
  void connect(int process);
  void greet(int process, Hello hello) { send_up(process, std::move(hello)); }
  void send_up(int process, UpMessage message);
  void process_died(int process);
  // By its agent, which passes on the process's words and its end in their order: what has not
  // arrived by now never does.
  void end_reported(int process);

  // From a coordinator, by the connection's id.
  void send_down(std::uint64_t connection, DownMessage message);
  void close(std::uint64_t connection);
  bool stands(std::uint64_t connection) const;
  void coordinator_died(int instance);

  // Faults.
  void break_connection(int process);
  void wake(int process);

  // For scripts: what is held and fits is lost; whether there is any; what nobody holds any more
  // goes on its way.
  void lose(const Happening& pattern);
  bool any_held(const Happening& pattern) const;
  void release_held();

 private:
  struct Connection
  {
    std::uint64_t id = 0;
    int process = 0;
    int instance = 0;
    bool member_sees_it = true;
    bool coordinator_sees_it = true;
    std::deque<std::pair<MonotonicTime, UpMessage>> up;
    std::deque<std::pair<MonotonicTime, DownMessage>> down;
  };
  Connection* of(int process);
  void try_connect(int process);
  void pump_up(std::uint64_t id);
  void pump_down(std::uint64_t id);
  void deliver(int process, const DownMessage& message);
  bool comes_twice(const DownMessage& message) const;
  void lose_at_member(Connection& connection);
  void lose_at_coordinator(Connection& connection);
  void beat(std::uint64_t id);

  World& world_;
  std::map<std::uint64_t, Connection> connections_;
  std::map<int, std::uint64_t> newest_;            // per process
  std::vector<std::pair<int, DownMessage>> late_;  // held when its connection broke
  std::uint64_t last_id_ = 0;
};

}  // namespace spillway::sim
