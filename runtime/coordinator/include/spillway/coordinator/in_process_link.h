// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <string>

#include "spillway/base/clock.h"
#include "spillway/coordinator/job_runner.h"
#include "spillway/coordinator/link.h"
#include "spillway/coordinator/node_session.h"

namespace spillway::coordinator {

// A node without processes and sockets: joins a JobRunner of this process by function calls, for
// tests and benches. Its heartbeats come from a thread of its own. Safe from any thread; outlives
// the links made from it.
class InProcessNode
{
 public:
  // `hello.job` must be the runner's; `session` is drawn if zero. The runner outlives the node
  // or is replaced in time.
  static std::unique_ptr<InProcessNode> connect(JobRunner& runner, NodeHello hello,
                                                const Clock& clock, NodeCallbacks callbacks = {});
  virtual ~InProcessNode() = default;

  // A worker's link; introduced by its register_worker(). `pid` in its hello tells the workers
  // of a node apart, so give each another one.
  virtual std::unique_ptr<ControlLink> make_link() = 0;
  // The agent's own words: report_exited, report_silent, request_leave, …
  virtual NodeSession& session() = 0;
  // The connection breaks and, with a runner (the same or a restarted one), comes back.
  virtual void disconnect() = 0;
  virtual void reconnect(JobRunner& runner) = 0;
};

}  // namespace spillway::coordinator
