// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "carried_coordinator.h"
#include "socket_folder.h"
#include "spillway/coordinator/agent_client.h"
#include "spillway/coordinator/agent_relay.h"
#include "spillway/launcher/job_control.h"
#include "spillway/launcher/port_reservation.h"
#include "spillway/launcher/supervisor.h"

namespace spillway {

struct CoordinatedParts
{
  SocketFolder folder;
  coordinator::NodeHello hello;
  std::optional<PortReservation> port;          // hello.master_port is its first
  std::unique_ptr<CarriedCoordinator> carried;  // if this node has the coordinator
};

// The agent's job as a Spillway coordinator has it: workers on one side, the coordinator on the
// other, both behind a NodeSession. What the session's thread hears is queued for the agent's.
class CoordinatedJob final : public JobControl
{
 public:
  // Opens the workers' socket.
  static absl::StatusOr<std::unique_ptr<CoordinatedJob>> open(CoordinatedParts parts,
                                                              Supervisor& supervisor);
  // Waits for the coordinator's first answer, as AgentClient::connect().
  absl::Status connect(const coordinator::AgentClientOptions& options, const Clock& clock);

  // Ends a coordinator in this process whose address belongs to another one; from then on this node
  // is one like any other. Of the agent's thread.
  void step_aside_if_unwanted();

  // Ends the job here when the coordinator has been away for longer than `lease` and
  // `join_timeout` together: nobody holds machines for ever. Says before how it stands.
  struct Patience
  {
    const Clock* clock = nullptr;
    std::string address;
    Duration lease{};
    Duration join_timeout{};
  };
  void limit_absence(const Patience& patience) { patience_ = patience; }

  std::vector<JobEvent> take() override;
  std::string agent_socket() const override { return parts_.folder.socket("agent"); }
  void report_exited(pid_t pid, const ExitReason& reason, const std::string& last_words) override;
  void report_silent(pid_t pid, const std::string& why) override;
  bool request_leave(pid_t pid) override;
  void request_restart(std::uint64_t failed_round, const std::string& why) override;
  void farewell(bool fatal, int exit_code, const std::string& why) override;
  int nodes_to_wait_for() override;

 private:
  CoordinatedJob(CoordinatedParts parts, Supervisor& supervisor);
  coordinator::NodeCallbacks callbacks();
  void add(JobEvent event);
  bool is_newest(coordinator::LinkId link);
  void add_about(coordinator::LinkId link, JobEvent event);
  void on_connection(bool up, const absl::Status& why);
  void on_round(const coordinator::Rendezvous& round);
  // What the worker that the agent knows as `child` said that its pid is; 0 if it never registered.
  std::int64_t said_by(pid_t child);
  void on_job_over(const coordinator::JobOver& over);
  void watch_absence();

  CoordinatedParts parts_;
  Supervisor& supervisor_;
  bool was_up_ = false;  // of the session's thread

  Patience patience_;
  MonotonicTime said_away_at_ = kForever;  // of the agent's thread

  std::mutex mutex_;
  MonotonicTime away_since_ = kForever;
  std::vector<JobEvent> events_;
  // Of the workers that registered: as they said, and as the agent started them.
  struct Pids
  {
    std::int64_t said = 0;
    pid_t child = 0;
  };
  std::map<coordinator::LinkId, Pids> pids_;

  std::unique_ptr<coordinator::NodeSession> session_;
  std::unique_ptr<coordinator::AgentRelay> relay_;
  std::unique_ptr<coordinator::AgentClient> client_;
};

}  // namespace spillway
