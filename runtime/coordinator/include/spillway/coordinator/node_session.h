// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "spillway/base/clock.h"
#include "spillway/coordinator/node_messages.h"

namespace spillway::coordinator {

// What an agent hears about its job and its workers. Calls come one at a time, in order, from a
// thread of the session; they may call the session back and should not block for long. Unset
// ones are skipped.
struct NodeCallbacks
{
  // The coordinator knows this node, for the first time or again.
  std::function<void(const NodeWelcome&)> on_welcome;
  // The coordinator is heard, or not any more (kUnavailable: reconnecting). Another code is final:
  // the job refuses this node, and why.
  std::function<void(bool up, const absl::Status& why)> on_connection;
  // Start workers; with a higher round: end those that run and start them anew.
  std::function<void(const Rendezvous&)> on_rendezvous;
  // A worker uses the API: it has introduced itself; its program is handled as such from now on.
  std::function<void(LinkId link, const WorkerHello& hello)> on_worker_registered;
  std::function<void(LinkId link, const Welcome& welcome)> on_worker_welcomed;
  // The job refuses the worker, which has been told; it will end by itself.
  std::function<void(LinkId link, const absl::Status& why)> on_worker_refused;
  std::function<void(LinkId link, WorkerId worker)> on_worker_first_applied;
  std::function<void(LinkId link, WorkerId worker, EndReason reason)> on_worker_released;
  std::function<void(LinkId link, WorkerId worker)> on_worker_disconnected;
  // Dump its stacks, kill and reap it, then report_exited().
  std::function<void(LinkId link, WorkerId worker, std::int64_t pid, const std::string& reason)>
      on_evict;
  std::function<void(const JobOver&)> on_job_over;
};

struct WorkerView
{
  LinkId link;
  WorkerId worker;  // zero: not welcomed
  std::uint32_t slot = 0;
  std::int64_t pid = 0;
  bool connected = false;
  bool released = false;
  std::optional<StepId> first_applied;
  MemberStatus status;
  Telemetry telemetry;
};

// An agent's memory of its workers and of what the coordinator must still hear: relays between
// them, and greets a coordinator that comes back with everything it needs, so that no worker
// notices the change. No sockets and no clock of its own: AgentRelay feeds the workers' side,
// AgentClient the coordinator's; in tests both are function calls. Safe from any thread.
class NodeSession
{
 public:
  NodeSession(NodeHello hello, NodeCallbacks callbacks);
  ~NodeSession();
  NodeSession(const NodeSession&) = delete;
  NodeSession& operator=(const NodeSession&) = delete;

  // -------- the launcher's side
  // By pid, as the launcher knows it; a process that never registered is not the job's business.
  void report_exited(std::int64_t pid, const ExitReport& exit);
  // It is stuck and will be killed: nothing that it still says is passed on (P12).
  void report_silent(std::int64_t pid, const std::string& reason);
  // Asks one worker, or all, to leave at a step boundary.
  void request_leave(std::int64_t pid, bool urgent);
  void request_leave_all(bool urgent);
  void request_restart(std::uint64_t failed_round, const std::string& reason);
  // The last message: after it a lost connection is not repaired.
  void farewell(const NodeFarewell& farewell);
  std::vector<WorkerView> workers() const;
  // Returns once the callbacks about everything that was heard before this call have returned, or
  // at the bound. Not inside a callback.
  void wait_for_callbacks(Duration bound);
  // Zero before the first welcome.
  NodeId node() const;
  Lineage lineage() const;

  // -------- the workers' side
  // `deliver` is called under the session's lock: it may only queue.
  LinkId open_link(std::function<void(const WorkerOrder&)> deliver);
  void from_worker(LinkId link, WorkerMessage message);
  void close_link(LinkId link);

  // -------- the coordinator's side
  // A stream to the coordinator stands: introduces the node through `send`, which may only queue
  // and says false when the stream is gone or full.
  void uplink_opened(std::function<bool(const NodeMessage&)> send);
  void uplink_closed(const absl::Status& why);
  void on_order(const NodeOrder& order, MonotonicTime now);
  // To be called every second while the uplink stands.
  void send_heartbeat(MonotonicTime now);
  // Sending time of the newest heartbeat that was acknowledged.
  std::optional<MonotonicTime> last_acknowledged() const;
  // The job is over or refuses us, or farewell was said: no use in reconnecting.
  bool finished() const;

 private:
  class Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace spillway::coordinator
