// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "spillway/base/clock.h"
#include "spillway/launcher/job_control.h"
#include "spillway/launcher/log_folder.h"
#include "spillway/launcher/port_reservation.h"
#include "spillway/launcher/run_options.h"
#include "spillway/launcher/slot_policy.h"
#include "spillway/launcher/supervisor.h"
#include "spillway/launcher/worker_environment.h"

namespace spillway {

struct AgentPlan
{
  RunOptions options;
  std::vector<std::string> command;
  std::vector<std::string> environment;  // inherited by the workers
  int workers = 1;
  std::string node_address = "127.0.0.1";
  // From finding a worker stopped to killing it; only tests set it.
  Duration kill_delay = Duration::zero();
};

// One node of a job: carries events between the processes (Supervisor), the job (JobControl) and
// the decisions (slot_policy). Runs in the thread that made the supervisor.
class Agent
{
 public:
  Agent(AgentPlan plan, Supervisor& supervisor, JobControl& control, LogFolder logs,
        const Clock& clock)
      : plan_(std::move(plan)),
        supervisor_(supervisor),
        control_(control),
        logs_(std::move(logs)),
        clock_(clock),
        policy_(plan_.workers, plan_.options.max_restarts)
  {
  }
  // Until the job ends here. Returns the exit code of `spillway run`.
  int run();

 private:
  struct Worker
  {
    pid_t pid = 0;
    int restart_count = 0;
    bool registered = false;
    bool applied = false;
    bool told_to_leave = false;
    bool refused = false;
    bool released = false;
    pid_t said = 0;  // the process that uses the API
    std::optional<MonotonicTime> unlinked_since{};
  };

  void decide(const SlotEvent& event);
  void act(const SlotAction& action);
  void start_worker(const SlotAction& action);
  void stop_worker(const SlotAction& action);
  void on_supervisor(const SupervisorEvent& event);
  void on_ended(const WorkerEnded& ended);
  void on_stopped(const WorkerStopped& stopped);
  void on_signal(int number);
  void on_job(const JobEvent& event);
  void on_round(const RoundAnnounced& round);
  void evict(int slot, const std::string& why);
  void evict_who_stays_unlinked();
  void start_first_workers();
  void prepare_attempt(int attempt);
  void keep_coordinator();
  std::optional<int> slot_of(pid_t pid) const;

  AgentPlan plan_;
  Supervisor& supervisor_;
  JobControl& control_;
  LogFolder logs_;
  const Clock& clock_;
  SlotPolicyState policy_;
  std::deque<SlotEvent> undecided_;  // the first is being decided
  std::map<int, Worker> workers_;    // by slot, those that run
  RoundAnnounced round_;
  bool started_ = false;
  bool coordinator_kept_ = false;
  NodePlacement placement_;
  std::optional<PortReservation> port_;
  int port_attempt_ = -1;
  std::string master_addr_;
  int master_port_ = 0;
  std::optional<int> exit_code_;
};

}  // namespace spillway
