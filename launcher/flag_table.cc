// SPDX-License-Identifier: Apache-2.0
#include "spillway/launcher/flag_table.h"

#include <algorithm>
#include <array>
#include <limits>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"

namespace spillway {
namespace {

constexpr FlagKind kV = FlagKind::kValue;
constexpr FlagKind kS = FlagKind::kSwitch;
constexpr FlagOrigin kT = FlagOrigin::kTorchrun;
constexpr FlagOrigin kO = FlagOrigin::kSpillway;

constexpr FlagSpec kFlags[] = {
    {"nnodes", 0, kV, kT, true, "number of nodes, N or MIN:MAX (default 1)"},
    {"nproc-per-node", 0, kV, kT, true, "workers on this node: N, auto, cpu or gpu (default 1)"},
    {"rdzv-backend", 0, kV, kT, true,
     "static: ranks from --node-rank; any other name: the Spillway coordinator"},
    {"rdzv-endpoint", 0, kV, kT, true, "HOST[:PORT] of the coordinator (default port 29400)"},
    {"rdzv-id", 0, kV, kT, true, "name of the job"},
    {"rdzv-conf", 0, kV, kT, true, "key=value,…: join_timeout, timeout (both in seconds)"},
    {"standalone", 0, kS, kT, true, "one node, with a coordinator inside this process"},
    {"max-restarts", 0, kV, kT, true,
     "plain program: restarts of all workers (default 0); on the API: deaths of one slot before "
     "its "
     "first applied step (default 3)"},
    {"monitor-interval", 0, kV, kT, true, "seconds between looks at the workers' state (0.1)"},
    {"start-method", 0, kV, kT, true, "accepted; workers are always new programs"},
    {"event-log-handler", 0, kV, kT, true, "accepted; events are written with the log"},
    {"role", 0, kV, kT, true, "name of this group of workers (default)"},
    {"module", 'm', kS, kT, true, "the program is a python module, as in python -m"},
    {"no-python", 0, kS, kT, true, "start the program directly, even one that ends in .py"},
    {"run-path", 0, kS, kT, true, "run the script with python's runpy.run_path"},
    {"log-dir", 0, kV, kT, true, "folder for the workers' logs"},
    {"redirects", 'r', kV, kT, true, "streams that go only to a file: 0|1|2|3 or RANK:N,…"},
    {"tee", 't', kV, kT, true, "streams that go to a file and the console: 0|1|2|3 or RANK:N,…"},
    {"local-ranks-filter", 0, kV, kT, true, "local ranks that are shown on the console: 0,2"},
    {"duplicate-stdout-filters", 0, kV, kT, true,
     "lines that are also kept in a file of their own"},
    {"duplicate-stderr-filters", 0, kV, kT, true,
     "lines that are also kept in a file of their own"},
    {"logs-specs", 0, kV, kT, false, "accepted; there are no python plug-ins here"},
    {"node-rank", 0, kV, kT, true, "rank of this node, for --rdzv-backend static (0)"},
    {"master-addr", 0, kV, kT, true, "host of rank 0, for --rdzv-backend static (127.0.0.1)"},
    {"master-port", 0, kV, kT, true, "port of rank 0, for --rdzv-backend static (29500)"},
    {"local-addr", 0, kV, kT, true, "address under which others reach this node"},
    {"numa-binding", 0, kV, kT, false, "accepted; workers are not bound, use numactl"},
    {"signals-to-handle", 0, kV, kT, true,
     "signals that end the job (SIGTERM,SIGINT,SIGHUP,SIGQUIT)"},
    {"shutdown-timeout", 0, kV, kT, true, "seconds from SIGTERM to SIGKILL for a worker (30)"},
    {"virtual-local-rank", 0, kS, kT, true, "each worker sees one GPU and LOCAL_RANK=0"},
    {"log-line-prefix-template", 0, kV, kT, true,
     "before each line of --tee: ${role_name}, ${local_rank}, ${rank}, ${pid}"},
    {"join-timeout", 0, kV, kO, true,
     "seconds below the minimum size, or without others, before the job ends (600)"},
    {"min-workers", 0, kV, kO, true, "workers below which members hold (default: MIN of --nnodes)"},
    {"lease", 0, kV, kO, true,
     "seconds that members train on without a coordinator (600); then they hold, for "
     "--join-timeout"},
    {"store", 0, kV, kO, true, "file in which a coordinator started here keeps the job"},
    {"insecure", 0, kS, kO, true,
     "let a coordinator started here listen beyond loopback, unencrypted"},
};

}  // namespace

absl::Span<const FlagSpec> run_flags()
{
  return kFlags;
}

const FlagSpec* find_run_flag(absl::string_view name)
{
  const std::string wanted = absl::StrReplaceAll(name, {{"_", "-"}});
  for (const FlagSpec& flag : kFlags)
  {
    if (flag.name == wanted) return &flag;
  }
  return nullptr;
}

std::string variable_of(const FlagSpec& flag)
{
  if (!flag.has_variable) return "";
  std::string name = absl::StrReplaceAll(flag.name, {{"-", "_"}});
  absl::AsciiStrToUpper(&name);
  return absl::StrCat(flag.origin == FlagOrigin::kTorchrun ? "PET_" : "SPILLWAY_RUN_", name);
}

int edit_distance(absl::string_view a, absl::string_view b)
{
  std::vector<std::vector<int>> cost(a.size() + 1, std::vector<int>(b.size() + 1));
  for (std::size_t i = 0; i <= a.size(); ++i) cost[i][0] = static_cast<int>(i);
  for (std::size_t j = 0; j <= b.size(); ++j) cost[0][j] = static_cast<int>(j);
  for (std::size_t i = 1; i <= a.size(); ++i)
  {
    for (std::size_t j = 1; j <= b.size(); ++j)
    {
      const int change = a[i - 1] == b[j - 1] ? 0 : 1;
      cost[i][j] = std::min({cost[i - 1][j] + 1, cost[i][j - 1] + 1, cost[i - 1][j - 1] + change});
      const bool swapped = i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1];
      if (swapped) cost[i][j] = std::min(cost[i][j], cost[i - 2][j - 2] + 1);
    }
  }
  return cost[a.size()][b.size()];
}

std::string nearest_name(absl::string_view name, absl::Span<const std::string> candidates)
{
  std::string best;
  int best_distance = std::numeric_limits<int>::max();
  for (const std::string& candidate : candidates)
  {
    const int distance = edit_distance(name, candidate);
    if (distance < best_distance) std::tie(best_distance, best) = std::pair(distance, candidate);
  }
  return best;
}

}  // namespace spillway
