// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "spillway/base/clock.h"
#include "spillway/coordinator/hello.h"
#include "spillway/coordinator/messages.h"

namespace spillway::coordinator {

// What a link tells its worker. All calls come one at a time from the link's own thread, never
// from inside a call of ControlLink, and none after ~ControlLink has returned. They must not
// block: an Abort waits behind them. Unset ones are skipped.
struct LinkCallbacks
{
  std::function<void(const ControlMessage&)> on_message;
  // `sent_at` is when the newest heartbeat that the coordinator acknowledged was sent, on this
  // machine's clock; the member's lease counts from there (P4).
  std::function<void(MonotonicTime sent_at)> on_acknowledged;
  // up: the coordinator hears this worker. Not up with kUnavailable: the coordinator is away,
  // training goes on within the lease and the link comes back by itself; nothing need be sent
  // again. Not up with another code: over for good (the agent died, or the job refused us).
  std::function<void(bool up, const absl::Status& why)> on_connection;
  // The node is asked to go: leave at the next chance (SIGTERM to the agent, or a notice).
  std::function<void(bool urgent)> on_leave_request;
};

// A worker's way to the coordinator of its job, through its agent or in this process. Safe from
// any thread, closed by its destructor, which may not run inside a callback.
class ControlLink
{
 public:
  virtual ~ControlLink() = default;

  // To be called once, before register_worker; `callbacks` is kept.
  virtual void start(LinkCallbacks callbacks) = 0;

  // Introduces this process and waits for its id. Callbacks may come before it returns.
  //   kInvalidArgument     model, data, version or arithmetic differ: says what to do
  //   kFailedPrecondition  other job or lineage, or the job is over
  //   kUnavailable         the agent or its coordinator cannot be reached
  //   kDeadlineExceeded    no answer by `deadline`; may be called again
  virtual absl::StatusOr<Welcome> register_worker(const WorkerHello& hello,
                                                  MonotonicTime deadline) = 0;

  // Reports where the member stands, with the members of status.current (or of its newest
  // number; nullptr: as sent before). Never blocks. A status is whole: an unsent older one is
  // replaced, and the newest is repeated to a coordinator that comes back.
  virtual void send(const MemberStatus& status, MemberListPtr members = nullptr) = 0;

  // Never block; dropped while the coordinator is away.
  virtual void send(const ProgressReport& report) = 0;
  virtual void send(const ProbeResult& result) = 0;
  virtual void send(const Telemetry& telemetry) = 0;
};

// The link of a worker that an agent started: gRPC over the UNIX socket `socket_path`
// ($SPILLWAY_AGENT_SOCKET). Connects on register_worker.
std::unique_ptr<ControlLink> make_worker_link(const std::string& socket_path, const Clock& clock);

}  // namespace spillway::coordinator
