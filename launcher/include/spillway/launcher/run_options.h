// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <functional>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"

namespace spillway {

// Which streams of a worker: torchrun's 0 none, 1 stdout, 2 stderr, 3 both.
struct StreamChoice
{
  int everyone = 0;
  std::map<int, int> by_local_rank;  // wins over `everyone`
  int of(int local_rank) const;
};

enum class RendezvousKind
{
  kStandalone,   // one node; a coordinator inside the agent
  kStatic,       // ranks from --node-rank; no coordinator beyond this node
  kCoordinator,  // a Spillway coordinator at `endpoint`
};

enum class ProgramKind
{
  kAutomatic,   // .py under python, anything else directly
  kExecutable,  // --no-python
  kModule,      // -m
  kRunPath,     // --run-path
};

// Everything that `spillway run` was asked for, checked for contradictions. Plain values; made once
// at the start of the process, then only read.
struct RunOptions
{
  int nodes_min = 1;
  int nodes_max = 1;
  std::string nproc_per_node = "1";  // resolve_worker_count() makes it a number
  RendezvousKind rendezvous = RendezvousKind::kStandalone;
  std::string endpoint_host;
  int endpoint_port = 0;
  std::string job;
  std::optional<int> max_restarts;  // unset: 0 for plain programs, 3 for programs on the API
  std::chrono::milliseconds monitor_interval{100};
  std::chrono::milliseconds shutdown_timeout{30000};
  std::chrono::milliseconds join_timeout{600000};
  std::chrono::milliseconds lease{600000};
  std::string role = "default";
  ProgramKind program_kind = ProgramKind::kAutomatic;
  std::string log_dir;
  StreamChoice redirects;
  StreamChoice tee;
  std::set<int> local_ranks_filter;  // empty: all
  std::vector<std::string> stdout_filters;
  std::vector<std::string> stderr_filters;
  std::string log_line_prefix_template;
  int node_rank = 0;
  std::string master_addr = "127.0.0.1";
  int master_port = 29500;
  std::string local_addr;
  std::vector<int> signals;
  bool virtual_local_rank = false;
  std::optional<int> min_workers;
  std::string store;
  bool insecure = false;
  std::vector<std::string> program;  // program and its arguments, as given
  std::vector<std::string> notices;  // one line each: what an accepted flag means here
  bool wants_help = false;
};

using EnvironmentLookup = std::function<std::optional<std::string>(const std::string&)>;

// `arguments` without "spillway run". Flags end at the first positional. Errors are
// kInvalidArgument and say what would be right.
absl::StatusOr<RunOptions> parse_run_options(absl::Span<const std::string> arguments,
                                             const EnvironmentLookup& lookup);

// The number of workers of this node; kInvalidArgument when `gpu` is asked and there is none.
absl::StatusOr<int> resolve_worker_count(const std::string& text, int cpus, int gpus);

// SIGTERM, TERM or 15; nullopt when there is no such signal.
std::optional<int> signal_number(const std::string& name);
// "SIGKILL"; "signal 63" for one without a name.
std::string signal_name(int number);

// The text of `spillway run --help`.
std::string run_help();

}  // namespace spillway
