// SPDX-License-Identifier: Apache-2.0
#include "spillway/launcher/run_options.h"

#include <signal.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cmath>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "collect_flags.h"
#include "flag_values.h"
#include "spillway/base/status.h"
#include "spillway/launcher/flag_table.h"

namespace spillway {
namespace {

using Values = std::map<std::string, std::string>;

// It is part of file names.
constexpr std::size_t kLongestJob = 128;
// Where torchrun's c10d backend meets if nobody says.
constexpr char kUsualEndpoint[] = "localhost:29400";

std::optional<std::string> value_of(const Values& values, const std::string& name)
{
  const auto found = values.find(name);
  if (found == values.end() || found->second.empty()) return std::nullopt;
  return found->second;
}

bool switched_on(const Values& values, const std::string& name)
{
  return value_of(values, name) == "1";
}

// The values with a single conversion, which CLI11 makes and explains.
absl::Status convert_plain(const Values& values, RunOptions& out)
{
  CLI::App app;
  double monitor_s = 0.1, shutdown_s = 30, join_s = 600, lease_s = 600;
  int restarts = -1, min_workers = -1;
  app.add_option("--max-restarts", restarts)->check(CLI::Range(0, 1 << 20));
  app.add_option("--monitor-interval", monitor_s)->check(CLI::Range(0.001, 3600.0));
  app.add_option("--shutdown-timeout", shutdown_s)->check(CLI::Range(0.0, 86400.0));
  app.add_option("--join-timeout", join_s)->check(CLI::Range(0.1, 1e6));
  app.add_option("--lease", lease_s)->check(CLI::Range(0.1, 1e6));
  app.add_option("--node-rank", out.node_rank)->check(CLI::Range(0, 1 << 20));
  app.add_option("--master-port", out.master_port)->check(CLI::Range(1, 65535));
  app.add_option("--min-workers", min_workers)->check(CLI::Range(1, 1 << 20));
  app.add_option("--role", out.role);
  app.add_option("--log-dir", out.log_dir);
  app.add_option("--master-addr", out.master_addr);
  app.add_option("--local-addr", out.local_addr);
  app.add_option("--rdzv-id", out.job);
  app.add_option("--store", out.store);
  app.add_option("--log-line-prefix-template", out.log_line_prefix_template);
  std::vector<std::string> given;  // CLI11 takes them last first
  for (const auto& [name, value] : values)
  {
    if (app.get_option_no_throw(absl::StrCat("--", name)) != nullptr && !value.empty())
      given.push_back(absl::StrCat("--", name, "=", value));
  }
  try
  {
    app.parse(std::move(given));
  }
  catch (const CLI::ParseError& error)
  {
    return absl::InvalidArgumentError(error.what());
  }
  // No range keeps these out.
  for (const auto& [name, seconds] : {std::pair{"monitor-interval", monitor_s},
                                      {"shutdown-timeout", shutdown_s},
                                      {"join-timeout", join_s},
                                      {"lease", lease_s}})
    if (std::isnan(seconds))
      return absl::InvalidArgumentError(
          absl::StrCat("--", name, " ", values.at(name), ": must be a number of seconds"));
  if (out.job.size() > kLongestJob)
    return absl::InvalidArgumentError(absl::StrCat("--rdzv-id has ", out.job.size(),
                                                   " characters; a name may have ", kLongestJob));
  if (restarts >= 0) out.max_restarts = restarts;
  if (min_workers >= 1) out.min_workers = min_workers;
  const auto to_ms = [](double seconds) {
    return std::chrono::milliseconds(std::llround(seconds * 1000));
  };
  out.monitor_interval = to_ms(monitor_s);
  out.shutdown_timeout = to_ms(shutdown_s);
  out.join_timeout = to_ms(join_s);
  out.lease = to_ms(lease_s);
  return absl::OkStatus();
}

absl::Status convert_lists(const Values& values, RunOptions& out)
{
  SPILLWAY_RETURN_IF_ERROR(parse_node_range(value_of(values, "nnodes").value_or("1"), out));
  out.nproc_per_node = value_of(values, "nproc-per-node").value_or("1");
  SPILLWAY_RETURN_IF_ERROR(resolve_worker_count(out.nproc_per_node, 1, 1).status());
  SPILLWAY_ASSIGN_OR_RETURN(
      out.redirects, parse_streams("redirects", value_of(values, "redirects").value_or("0")));
  SPILLWAY_ASSIGN_OR_RETURN(out.tee, parse_streams("tee", value_of(values, "tee").value_or("0")));
  SPILLWAY_ASSIGN_OR_RETURN(
      out.local_ranks_filter,
      parse_ranks("local-ranks-filter", value_of(values, "local-ranks-filter").value_or("")));
  SPILLWAY_ASSIGN_OR_RETURN(
      out.signals,
      parse_signals(
          value_of(values, "signals-to-handle").value_or("SIGTERM,SIGINT,SIGHUP,SIGQUIT")));
  out.stdout_filters = absl::StrSplit(value_of(values, "duplicate-stdout-filters").value_or(""),
                                      ',', absl::SkipEmpty());
  out.stderr_filters = absl::StrSplit(value_of(values, "duplicate-stderr-filters").value_or(""),
                                      ',', absl::SkipEmpty());
  return parse_rdzv_conf(value_of(values, "rdzv-conf").value_or(""), out);
}

absl::Status choose_program(const Values& values, RunOptions& out)
{
  const bool module = switched_on(values, "module");
  const bool direct = switched_on(values, "no-python");
  const bool run_path = switched_on(values, "run-path");
  if (module + direct + run_path > 1)
  {
    return absl::InvalidArgumentError(
        "--module, --no-python and --run-path each say how the program is started: give one of "
        "them");
  }
  out.program_kind = module     ? ProgramKind::kModule
                     : direct   ? ProgramKind::kExecutable
                     : run_path ? ProgramKind::kRunPath
                                : ProgramKind::kAutomatic;
  return absl::OkStatus();
}

absl::Status choose_rendezvous(const Values& values, RunOptions& out)
{
  const std::string backend = value_of(values, "rdzv-backend").value_or("");
  std::string endpoint = value_of(values, "rdzv-endpoint").value_or("");
  const bool alone = switched_on(values, "standalone");
  if (alone && out.nodes_max > 1)
  {
    return absl::InvalidArgumentError(
        absl::StrCat("--standalone is one node, but --nnodes says ", out.nodes_min, ":",
                     out.nodes_max, "; for several nodes give --rdzv-endpoint HOST:PORT instead"));
  }
  if (alone)
  {
    if (!backend.empty() || !endpoint.empty())
      out.notices.push_back("--standalone: --rdzv-backend and --rdzv-endpoint are ignored");
    for (const char* unused : {"node-rank", "master-addr", "master-port"})
      if (value_of(values, unused))
        out.notices.push_back(absl::StrCat("--standalone: --", unused, " is ignored"));
    return absl::OkStatus();
  }
  const bool is_static = backend == "static" || (backend.empty() && endpoint.empty());
  if (backend == "c10d" && endpoint.empty()) endpoint = kUsualEndpoint;
  if (!is_static && endpoint.empty())
  {
    return absl::InvalidArgumentError(
        absl::StrCat("--rdzv-backend ", backend,
                     " needs --rdzv-endpoint HOST:PORT, where the coordinator listens"));
  }
  if (!is_static)
  {
    out.rendezvous = RendezvousKind::kCoordinator;
    if (backend == "etcd" || backend == "etcd-v2" || backend == "c10d")
      out.notices.push_back(absl::StrCat("--rdzv-backend ", backend,
                                         " means the Spillway coordinator at ", endpoint, " here"));
    for (const char* unused : {"node-rank", "master-addr", "master-port"})
    {
      if (value_of(values, unused))
        out.notices.push_back(absl::StrCat("--", unused, " acts only with --rdzv-backend static"));
    }
    return parse_endpoint(endpoint, 29400, out.endpoint_host, out.endpoint_port);
  }
  if (!endpoint.empty())
  {
    SPILLWAY_RETURN_IF_ERROR(
        parse_endpoint(endpoint, out.master_port, out.master_addr, out.master_port));
  }
  // One node needs no agreement on a master, unless the user names one.
  const bool named = value_of(values, "master-addr") || value_of(values, "master-port") ||
                     value_of(values, "node-rank");
  if (out.nodes_max == 1 && backend.empty() && !named) return absl::OkStatus();
  out.rendezvous = RendezvousKind::kStatic;
  if (out.nodes_min != out.nodes_max)
  {
    return absl::InvalidArgumentError(absl::StrCat(
        "--nnodes ", out.nodes_min, ":", out.nodes_max,
        " may change, which --rdzv-backend static cannot; give --rdzv-endpoint HOST:PORT"));
  }
  return absl::OkStatus();
}

void add_notices(const Values& values, RunOptions& out)
{
  const auto note = [&](const char* name, const char* meaning) {
    if (value_of(values, name)) out.notices.push_back(absl::StrCat("--", name, ": ", meaning));
  };
  note("start-method",
       "every worker is a new program here, so fork, spawn and forkserver are the same");
  note("event-log-handler", "events are lines of the log here");
  note("logs-specs", "there are no python plug-ins here; --redirects and --tee choose the logs");
  note("numa-binding", "workers are not bound to NUMA nodes here; start them under numactl");
}

absl::Status check_contradictions(const RunOptions& options)
{
  if (options.node_rank >= options.nodes_max && options.rendezvous == RendezvousKind::kStatic)
  {
    return absl::InvalidArgumentError(absl::StrCat("--node-rank ", options.node_rank,
                                                   " does not exist among --nnodes ",
                                                   options.nodes_max, "; ranks begin at 0"));
  }
  if (options.program.empty())
    return absl::InvalidArgumentError(
        "no program given: spillway run [flags] program [arguments…]");
  return absl::OkStatus();
}

}  // namespace

int StreamChoice::of(int local_rank) const
{
  const auto found = by_local_rank.find(local_rank);
  return found == by_local_rank.end() ? everyone : found->second;
}

absl::StatusOr<RunOptions> parse_run_options(absl::Span<const std::string> arguments,
                                             const EnvironmentLookup& lookup)
{
  SPILLWAY_ASSIGN_OR_RETURN(CollectedFlags given, collect_flags(arguments, lookup));
  RunOptions out;
  out.wants_help = given.values.contains("help");
  if (out.wants_help) return out;
  out.program = std::move(given.program);
  out.insecure = switched_on(given.values, "insecure");
  out.virtual_local_rank = switched_on(given.values, "virtual-local-rank");
  SPILLWAY_RETURN_IF_ERROR(convert_plain(given.values, out));
  SPILLWAY_RETURN_IF_ERROR(convert_lists(given.values, out));
  SPILLWAY_RETURN_IF_ERROR(choose_program(given.values, out));
  SPILLWAY_RETURN_IF_ERROR(choose_rendezvous(given.values, out));
  SPILLWAY_RETURN_IF_ERROR(check_contradictions(out));
  add_notices(given.values, out);
  if (out.log_line_prefix_template.empty())
    out.log_line_prefix_template = lookup("TORCHELASTIC_LOG_LINE_PREFIX_TEMPLATE").value_or("");
  if (!given.values.contains("shutdown-timeout"))
  {
    double seconds = 0;
    const std::optional<std::string> text = lookup("TORCH_ELASTIC_SHUTDOWN_TIMEOUT");
    if (text && absl::SimpleAtod(*text, &seconds) && seconds >= 0 && seconds < 86400)
      out.shutdown_timeout = std::chrono::milliseconds(std::llround(seconds * 1000));
  }
  return out;
}

std::string run_help()
{
  std::string text =
      "spillway run [flags] program [arguments…]\n"
      "Starts the workers of this node, watches and replaces them. Flags mean what they mean to\n"
      "torchrun; '-' and '_' are equal; each may come from PET_<NAME> (ours: "
      "SPILLWAY_RUN_<NAME>).\n\n";
  for (const FlagSpec& flag : run_flags())
  {
    std::string name = absl::StrCat(
        "  ", flag.short_name != 0 ? absl::StrCat("-", std::string(1, flag.short_name), ", ") : "",
        "--", flag.name, flag.kind == FlagKind::kValue ? " VALUE" : "");
    if (name.size() < 36) name.resize(36, ' ');
    absl::StrAppend(&text, name, " ", flag.help, "\n");
  }
  absl::StrAppend(
      &text,
      "\nEnds with 0 when the job is done or all workers left as asked, else with the code of the\n"
      "worker that ended the job (128 + signal); and by itself with\n"
      "  2   wrong flags                        75  fewer workers than the minimum for too long\n"
      "  69  the coordinator or an address      76  the coordinator refused or ended the job,\n"
      "      cannot be had                          or its store is damaged\n"
      "  70  a fault of Spillway itself         126 the program may not be executed\n"
      "  71  the machine has no room            127 there is no such program\n");
  return text;
}

}  // namespace spillway
