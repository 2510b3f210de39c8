// SPDX-License-Identifier: Apache-2.0
#include "spillway/launcher/worker_environment.h"

#include <map>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"

namespace spillway {
namespace {

using Variables = std::map<std::string, std::string>;

Variables to_variables(absl::Span<const std::string> inherited)
{
  Variables out;
  for (const std::string& entry : inherited)
  {
    const std::size_t equals = entry.find('=', 1);
    if (equals != std::string::npos) out.emplace(entry.substr(0, equals), entry.substr(equals + 1));
  }
  return out;
}

// With --virtual-local-rank each worker sees its own device as number 0.
void choose_one_device(Variables& out, int local_rank)
{
  const auto visible = out.find("CUDA_VISIBLE_DEVICES");
  std::string device = absl::StrCat(local_rank);
  if (visible != out.end())
  {
    const std::vector<std::string> devices =
        absl::StrSplit(visible->second, ',', absl::SkipEmpty());
    if (static_cast<std::size_t>(local_rank) < devices.size())
      device = devices[static_cast<std::size_t>(local_rank)];
  }
  out["CUDA_VISIBLE_DEVICES"] = device;
  out["LOCAL_RANK"] = "0";
}

}  // namespace

std::vector<std::string> worker_environment(absl::Span<const std::string> inherited,
                                            const RunOptions& options, const NodePlacement& node,
                                            const WorkerIdentity& worker)
{
  Variables out = to_variables(inherited);
  const std::string rank = absl::StrCat(node.first_rank + worker.local_rank);
  const std::string world = absl::StrCat(node.world_size);
  out["LOCAL_RANK"] = absl::StrCat(worker.local_rank);
  out["RANK"] = rank;
  out["GROUP_RANK"] = absl::StrCat(node.group_rank);
  // One role for each run, so ranks in the role are the ranks.
  out["ROLE_RANK"] = rank;
  out["ROLE_NAME"] = options.role;
  out["LOCAL_WORLD_SIZE"] = absl::StrCat(node.local_world_size);
  out["WORLD_SIZE"] = world;
  out["GROUP_WORLD_SIZE"] = absl::StrCat(node.group_world_size);
  out["ROLE_WORLD_SIZE"] = world;
  out["MASTER_ADDR"] = worker.master_addr;
  out["MASTER_PORT"] = absl::StrCat(worker.master_port);
  out["TORCHELASTIC_RESTART_COUNT"] = absl::StrCat(worker.restart_count);
  out["TORCHELASTIC_MAX_RESTARTS"] = absl::StrCat(worker.max_restarts);
  out["TORCHELASTIC_RUN_ID"] = worker.job;
  // No store runs in the agent: rank 0 opens its own at MASTER_PORT.
  out["TORCHELASTIC_USE_AGENT_STORE"] = "False";
  if (!worker.error_file.empty()) out["TORCHELASTIC_ERROR_FILE"] = worker.error_file;
  out.emplace("TORCH_NCCL_ASYNC_ERROR_HANDLING", "1");
  if (node.local_world_size > 1) out.emplace("OMP_NUM_THREADS", "1");
  if (options.virtual_local_rank) choose_one_device(out, worker.local_rank);

  out["SPILLWAY_JOB"] = worker.job;
  out["SPILLWAY_SLOT"] = absl::StrCat(worker.local_rank);
  out["SPILLWAY_RESTART_COUNT"] = absl::StrCat(worker.restart_count);
  if (!worker.agent_socket.empty())
    out["SPILLWAY_AGENT_SOCKET"] = worker.agent_socket;
  else
    out.erase("SPILLWAY_AGENT_SOCKET");
  if (!worker.peer_address.empty()) out["SPILLWAY_LOCAL_ADDR"] = worker.peer_address;

  std::vector<std::string> entries;
  for (const auto& [name, value] : out) entries.push_back(absl::StrCat(name, "=", value));
  return entries;
}

NodePlacement equal_placement(int node_rank, int nodes, int workers_per_node)
{
  return {node_rank, nodes, workers_per_node, node_rank * workers_per_node,
          nodes * workers_per_node};
}

}  // namespace spillway
