// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "spillway/launcher/job_control.h"
#include "spillway/launcher/run_options.h"
#include "spillway/launcher/supervisor.h"

namespace spillway {

struct JoinedJob
{
  std::unique_ptr<JobControl> control;
  std::string node_address = "127.0.0.1";  // under which other nodes reach this one
  int stopped_by = 0;                      // a signal that came before the coordinator answered
};

// Gives the job a name if the user gave none: a random one where it is this node's alone.
void name_job(RunOptions& options);

// Connects this node to its job: opens the workers' socket, carries a coordinator where the options
// ask for it (--standalone, or an endpoint on this host where nobody listens), and waits for the
// coordinator's first answer, at most --join-timeout and never longer than 60 s. kUnavailable names
// the address and what was tried.
absl::StatusOr<JoinedJob> join_job(const RunOptions& options, int workers, Supervisor& supervisor,
                                   const Clock& clock);

// A job of this node alone whose ranks the user gave (--rdzv-backend static): no coordinator.
std::unique_ptr<JobControl> make_local_job(int workers);

}  // namespace spillway
