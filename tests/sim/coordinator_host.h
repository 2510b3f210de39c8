// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "control.h"
#include "spillway/coordinator/membership.h"

namespace spillway::sim {

class World;

// The coordinators of a job, one life after the other (a deposed one may live on for a while
// beside its successor), around the real membership core, and the store that they share. Writes
// are conditional on the writer's term.
class CoordinatorHost
{
 public:
  explicit CoordinatorHost(World& world) : world_(world) {}

  enum class Crash
  {
    kNow,
    kBeforeWrite,  // at the next one
    kAfterWrite,
  };
  void start();
  void crash(Crash when);
  // A successor starts while this one believes that it leads.
  void depose(Duration lives_on);
  void store_fails_for(Duration span) { store_fails_until_ = now() + span; }
  // It starts again with an empty store; an operator adopts once all who live are here.
  void loses_store();
  // Faults are over.
  void mend();

  void receive(int instance, std::uint64_t connection, int process, const UpMessage& message);
  void connection_lost(int instance, std::uint64_t connection);
  // Agents and operators; repeated until a leader hears it.
  void report_exit(int process);
  void report_silent(int process);
  // Its stream is cut; if it lives it greets again.
  void agent_silent(int process);
  void request(MembershipEvent event);

  bool up() const { return accepting() >= 0; }
  int accepting() const;
  MembershipCore* leader();
  const std::optional<JobRecord>& stored() const { return store_; }
  bool lost_store() const { return lost_store_; }
  int lives() const { return static_cast<int>(instances_.size()); }

 private:
  struct Instance
  {
    std::unique_ptr<MembershipCore> core;
    bool up = true;
    bool leads = true;
    bool blocked = false;  // a write is under way or is tried again
    std::deque<MembershipEvent> events;
    std::deque<MembershipAction> actions;
    std::map<WorkerId, std::uint64_t> connections;
    std::map<std::uint64_t, WorkerId> workers;
    std::set<std::uint64_t> nameless;  // greeted without an id and are not answered
    std::set<WorkerId> said_silent;    // and to be killed: nothing of them is taken any more
    MonotonicTime tick_at = kForever;
  };
  MonotonicTime now() const;
  void feed(int instance, MembershipEvent event);
  void run(int instance);
  bool act(int instance, const MembershipAction& action);  // false: goes on later, or never
  void accept(int instance, const Accept& action);
  bool persist(int instance, const Persist& action);
  void write(int instance, const JobRecordPtr& record);
  void send(int instance, const Send& action);
  void set_tick(int instance);
  void die(int instance);
  void restart_later();
  void watch_adoption(int polls);
  void evict(WorkerId worker);
  void silent(int process, const std::string& why);

  World& world_;
  std::vector<std::unique_ptr<Instance>> instances_;
  std::optional<JobRecord> store_;
  std::set<Number> told_;
  MonotonicTime store_fails_until_{};
  std::optional<Crash> crash_at_write_;
  bool lost_store_ = false;
};

}  // namespace spillway::sim
