// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "spillway/base/clock.h"
#include "spillway/coordinator/node_session.h"
#include "spillway/coordinator/report.h"

namespace spillway::coordinator {

struct AgentClientOptions
{
  std::string address;  // host:port, or unix:/path
  Duration connect_timeout = std::chrono::seconds(30);
  // Between attempts to come back: doubles, with jitter. Shorter than the last call before a first
  // round, so that a coordinator that should not be one hears of it in time.
  Duration backoff_min = std::chrono::milliseconds(100);
  Duration backoff_max = std::chrono::milliseconds(500);
  // A coordinator that does not acknowledge for this long is left and called again.
  Duration silence_max = std::chrono::seconds(5);
  std::uint64_t jitter_seed = 0;  // 0: drawn
  // Asked some times a second by the thread that waits in connect(); true ends the waiting.
  std::function<bool()> give_up;
};

// The agent's only stream to the coordinator: introduces the node, sends a heartbeat each second,
// carries the session's messages, and comes back after every loss until the session is finished.
// One owned thread; its destructor first writes what waits, for at most 2 s.
class AgentClient
{
 public:
  // Waits for the coordinator's first answer. The session outlives the client.
  //   kUnavailable, kDeadlineExceeded  nobody there: names the address and what was tried
  //   kCancelled                       give_up() said so
  //   others                           as the coordinator refused the node
  static absl::StatusOr<std::unique_ptr<AgentClient>> connect(const AgentClientOptions& options,
                                                              NodeSession& session,
                                                              const Clock& clock);
  virtual ~AgentClient() = default;
};

// Calls of `spillway status`, `explain`, `adopt` and `abandon`; each opens a connection of its own
// and is bounded by `timeout`. An empty job means the only one.
class ControlClient
{
 public:
  ControlClient(std::string address, Duration timeout);
  absl::StatusOr<JobReport> report(const std::string& job);
  absl::StatusOr<std::vector<JobSummary>> list_jobs();
  absl::Status adopt(const std::string& job, Lineage lineage);
  absl::Status abandon_worker(const std::string& job, WorkerId worker, const std::string& reason);
  absl::Status abandon_node(const std::string& job, NodeId node, const std::string& reason);
  absl::Status end(const std::string& job, const std::string& reason);

 private:
  std::string address_;
  Duration timeout_;
};

}  // namespace spillway::coordinator
