// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "spillway/base/clock.h"
#include "spillway/coordinator/membership.h"
#include "spillway/coordinator/node_messages.h"
#include "spillway/coordinator/report.h"
#include "spillway/coordinator/store.h"

namespace spillway::coordinator {

// An agent's stream at the coordinator. Never reused in the life of a coordinator.
using StreamId = StrongId<struct StreamTag>;

// Takes orders for one agent. Called from the runner's thread: it may only queue; false means
// that the stream is gone or full, and it is then closed.
struct OrderSink
{
  std::function<bool(const NodeOrder&)> send;
  // The stream should end, and why. No more calls after it.
  std::function<void(const absl::Status&)> close;
};

struct RunnerOptions
{
  // Judged silent after this long without a heartbeat.
  Duration node_timeout = std::chrono::seconds(3);
  Duration heartbeat = std::chrono::seconds(1);
  // After a restart agents have this long to come back before silence counts.
  Duration reconnect_grace = std::chrono::seconds(5);
  // P13: a step that members wait in for max(this, 10 × p99 of seen steps) does not complete.
  Duration progress_floor = std::chrono::seconds(30);
  // For a coordinator that was only started because nobody listened. Before the first round an
  // agent comes from a life of the job that the store has no record of (P11): whoever has the
  // record must have the address. Told once, from the runner's thread; nobody is served after it.
  // Unset: such agents wait to be adopted.
  std::function<void(const absl::Status& why)> on_unknown_life{};
  // Retries of a store that fails.
  Duration store_retry_min = std::chrono::milliseconds(50);
  Duration store_retry_max = std::chrono::seconds(2);
  // Events and orders held while the store fails; beyond it, streams are closed.
  std::size_t held_max = 65536;
};

// One job's life in a coordinator: the membership core, its record in the store, its clock and
// its agents, in one owned thread. Nothing is announced before it is durable: while the store
// fails, everything behind the record waits, an alarm says so, heartbeats are still answered
// and training goes on. A deposed leader (P18) closes every stream and says so once.
// Safe from any thread; no call blocks on the store except open().
class JobRunner
{
 public:
  struct Services
  {
    Store* store = nullptr;  // outlives the runner; used only by its thread after open()
    Term term;
    const Clock* clock = nullptr;
    // Told once, from the runner's thread, when another leader has taken over.
    std::function<void(const absl::Status&)> on_deposed;
  };

  // Reads the job's record; kDataLoss if it cannot be trusted. `options` of the first agent are
  // the job's, unless the record has some.
  static absl::StatusOr<std::unique_ptr<JobRunner>> open(const std::string& job,
                                                         const RunnerOptions& options,
                                                         const Services& services);
  virtual ~JobRunner() = default;

  // A new stream of an agent. Its first message must be a NodeHello.
  virtual StreamId connect(OrderSink sink) = 0;
  // False: too much is held, or the stream is not known; close it.
  virtual bool post(StreamId stream, NodeMessage message) = 0;
  virtual void disconnect(StreamId stream) = 0;

  // Operator's words. kDeadlineExceeded if the runner does not get to it in time.
  virtual absl::StatusOr<JobReport> report(Duration timeout = std::chrono::seconds(5)) = 0;
  virtual absl::Status adopt(Lineage lineage) = 0;
  virtual absl::Status abandon_worker(WorkerId worker, const std::string& reason) = 0;
  virtual absl::Status abandon_node(NodeId node, const std::string& reason) = 0;
  virtual absl::Status end(const std::string& reason) = 0;
};

}  // namespace spillway::coordinator
