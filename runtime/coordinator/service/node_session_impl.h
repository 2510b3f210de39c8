// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <condition_variable>
#include <deque>
#include <functional>
#include <map>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "spillway/coordinator/node_session.h"

namespace spillway::coordinator {

// One file per side: node_session.cc (the launcher's words, callbacks), node_workers.cc (workers'
// links), node_uplink.cc (the coordinator).
class NodeSession::Impl
{
 public:
  Impl(NodeHello hello, NodeCallbacks callbacks);
  ~Impl();

  // node_session.cc
  void report_exited(std::int64_t pid, const ExitReport& exit);
  void report_silent(std::int64_t pid, const std::string& reason);
  void request_leave(std::int64_t pid, bool urgent);
  void request_leave_all(bool urgent);
  void request_restart(std::uint64_t failed_round, const std::string& reason);
  void farewell(const NodeFarewell& farewell);
  std::vector<WorkerView> workers() const;
  void wait_for_callbacks(Duration bound);
  NodeId node() const;
  Lineage lineage() const;

  // node_workers.cc
  LinkId open_link(std::function<void(const WorkerOrder&)> deliver);
  void from_worker(LinkId link, WorkerMessage message);
  void close_link(LinkId link);

  // node_uplink.cc
  void uplink_opened(std::function<bool(const NodeMessage&)> send);
  void uplink_closed(const absl::Status& why);
  void on_order(const NodeOrder& order, MonotonicTime now);
  void send_heartbeat(MonotonicTime now);
  std::optional<MonotonicTime> last_acknowledged() const;
  bool finished() const;

 private:
  struct Worker
  {
    std::function<void(const WorkerOrder&)> deliver;  // unset once the link is closed
    std::optional<WorkerHello> hello;                 // as it was last said
    std::optional<Welcome> welcome;
    StatusUpdate status;  // the newest, with the newest members
    bool has_status = false;
    Telemetry telemetry;
    std::optional<StepId> first_applied;
    bool released = false;
    bool refused = false;
    // Reported silent, or ordered to be killed: its lease is not renewed (P4).
    bool silent = false;
    std::string silent_reason;
    std::optional<ExitReport> exit;
    std::optional<LeaveRequest> leave;
    WorkerId id() const { return welcome ? welcome->worker : WorkerId(); }
  };

  void call(std::function<void()> callback);
  void run_callbacks();
  Worker* by_pid(std::int64_t pid, LinkId* link = nullptr);
  bool send(const NodeMessage& message);
  void send_fate(LinkId link, const Worker& worker, WorkerFate::Kind kind,
                 const std::string& reason);
  void ask_to_leave(Worker& worker, bool urgent);
  void forget_old_workers();

  void on_hello(LinkId link, Worker& worker, WorkerHello hello);
  void on_status(LinkId link, Worker& worker, StatusUpdate update);
  WorkerHello greeting(const Worker& worker) const;
  void tell(Worker& worker, const WorkerOrder& order);
  void refuse(LinkId link, Worker& worker, const absl::Status& why);

  void on(const NodeWelcome& welcome, MonotonicTime now);
  void on(const Refusal& refusal, MonotonicTime now);
  void on(const HeartbeatAck& ack, MonotonicTime now);
  void on(const ToWorkers& to, MonotonicTime now);
  void on(const EvictOrder& evict, MonotonicTime now);
  void on(const Rendezvous& round, MonotonicTime now);
  void on(const JobOver& over, MonotonicTime now);
  void on_worker_order(LinkId link, Worker& worker, const WorkerOrder& order);
  void replay();
  void set_up(bool up, const absl::Status& why);

  const NodeCallbacks callbacks_;

  mutable std::mutex mutex_;
  NodeHello hello_;
  std::map<LinkId, Worker> workers_;
  LinkId last_link_;
  std::function<bool(const NodeMessage&)> uplink_;
  bool up_ = false;  // the coordinator has answered on this uplink
  std::uint64_t last_heartbeat_ = 0;
  std::deque<std::pair<std::uint64_t, MonotonicTime>>
      heartbeats_;  // not acknowledged, of this uplink
  std::optional<MonotonicTime> acknowledged_;
  std::uint64_t round_ = 0;
  std::optional<RestartWanted> restart_wanted_;
  std::optional<LeaveRequest> leave_all_;
  std::optional<absl::Status> over_;  // what later workers are told
  bool finished_ = false;

  std::mutex callback_mutex_;
  std::condition_variable callback_wake_;
  std::deque<std::function<void()>> callback_queue_;
  std::condition_variable callback_returned_;
  std::uint64_t callbacks_queued_ = 0;
  std::uint64_t callbacks_returned_ = 0;
  bool stopping_ = false;
  std::thread callback_thread_;
};

}  // namespace spillway::coordinator
