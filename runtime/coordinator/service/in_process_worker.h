// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <condition_variable>
#include <deque>
#include <memory>
#include <mutex>
#include <optional>
#include <thread>

#include "spillway/coordinator/link.h"
#include "spillway/coordinator/node_session.h"

namespace spillway::coordinator {

// A worker's link by function calls to a session of this process. The session outlives it.
class InProcessLink final : public ControlLink
{
 public:
  InProcessLink(NodeSession& session, const Clock& clock);
  ~InProcessLink() override;
  void start(LinkCallbacks callbacks) override;
  absl::StatusOr<Welcome> register_worker(const WorkerHello& hello,
                                          MonotonicTime deadline) override;
  void send(const MemberStatus& status, MemberListPtr members) override;
  void send(const ProgressReport& report) override;
  void send(const ProbeResult& result) override;
  void send(const Telemetry& telemetry) override;

 private:
  void take(const WorkerOrder& order);
  void run();
  void call_back(const WorkerOrder& order);

  NodeSession& session_;
  const Clock& clock_;
  LinkCallbacks callbacks_;
  std::mutex mutex_;
  std::condition_variable wake_;
  std::deque<WorkerOrder> orders_;
  std::optional<absl::StatusOr<Welcome>> answer_;  // to register_worker
  bool up_ = false;
  bool stopping_ = false;
  LinkId link_;
  std::thread thread_;
};

}  // namespace spillway::coordinator
