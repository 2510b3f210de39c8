// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <vector>

#include "absl/types/span.h"
#include "spillway/launcher/run_options.h"

namespace spillway {

// Where the workers of this node stand among all. Known before they start: from --node-rank, or
// because there is one node; programs on the API ask the runtime instead, ranks change there.
struct NodePlacement
{
  int group_rank = 0;
  int group_world_size = 1;
  int local_world_size = 1;
  int first_rank = 0;  // of local rank 0
  int world_size = 1;
};

struct WorkerIdentity
{
  int local_rank = 0;
  int restart_count = 0;
  int max_restarts = 0;
  std::string master_addr = "127.0.0.1";
  int master_port = 0;
  std::string job;
  std::string agent_socket;  // empty: no runtime of ours is reachable
  std::string error_file;
  std::string peer_address;  // --local-addr, empty when not given
};

// The whole environment of a worker: what the agent has, changed and added to by torchrun's
// contract and ours. Pure. `inherited` is "NAME=value" each.
std::vector<std::string> worker_environment(absl::Span<const std::string> inherited,
                                            const RunOptions& options, const NodePlacement& node,
                                            const WorkerIdentity& worker);

// NodePlacement for equal counts on all nodes.
NodePlacement equal_placement(int node_rank, int nodes, int workers_per_node);

}  // namespace spillway
