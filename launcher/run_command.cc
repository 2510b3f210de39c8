// SPDX-License-Identifier: Apache-2.0
#include <cstdio>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "commands.h"
#include "join_job.h"
#include "spillway/base/environment.h"
#include "spillway/base/log.h"
#include "spillway/base/status.h"
#include "spillway/launcher/agent.h"
#include "spillway/launcher/exit_code.h"
#include "spillway/launcher/program.h"

namespace spillway {
namespace {

int fail(const absl::Status& status)
{
  std::fprintf(stderr, "spillway run: %s\n", std::string(status.message()).c_str());
  return to_int(exit_code_for(status));
}

void say_notices(const RunOptions& options, int workers)
{
  for (const std::string& notice : options.notices) log_info(notice);
  if (workers > 1 && !environment("OMP_NUM_THREADS"))
    log_info("OMP_NUM_THREADS is not set: each of the ", workers,
             " workers gets 1, so that they do not crowd each other; set it to choose");
}

// Only tests delay the kill of a stopped worker, to continue it in between.
Duration kill_delay_for_tests()
{
  int delay_ms = 0;
  const std::optional<std::string> text = environment("SPILLWAY_TEST_KILL_DELAY_MS");
  if (text && absl::SimpleAtoi(*text, &delay_ms)) return std::chrono::milliseconds(delay_ms);
  return Duration::zero();
}

absl::Status check_minimum(const RunOptions& options, int workers)
{
  if (options.nodes_max > 1 || options.min_workers.value_or(1) <= workers) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat("--min-workers ", *options.min_workers,
                                                 " can never be reached by one node with ", workers,
                                                 " workers; raise --nproc-per-node or --nnodes"));
}

absl::StatusOr<int> run(AgentPlan plan)
{
  const Clock& clock = system_clock();
  SupervisorOptions watch;
  watch.signals = plan.options.signals;
  watch.shutdown_timeout = plan.options.shutdown_timeout;
  watch.state_interval = std::min(std::chrono::milliseconds(250), plan.options.monitor_interval);
  SPILLWAY_ASSIGN_OR_RETURN(std::unique_ptr<Supervisor> supervisor,
                            Supervisor::create(watch, clock));
  SPILLWAY_ASSIGN_OR_RETURN(LogFolder logs, LogFolder::create(plan.options, environment));
  SPILLWAY_ASSIGN_OR_RETURN(JoinedJob joined,
                            join_job(plan.options, plan.workers, *supervisor, clock));
  if (joined.stopped_by != 0) return 128 + joined.stopped_by;
  plan.node_address = joined.node_address;
  Agent agent(std::move(plan), *supervisor, *joined.control, std::move(logs), clock);
  return agent.run();
}

}  // namespace

int run_command(const std::vector<std::string>& arguments)
{
  absl::StatusOr<RunOptions> options = parse_run_options(arguments, environment);
  if (!options.ok()) return fail(options.status());
  if (options->wants_help)
  {
    std::fputs(run_help().c_str(), stdout);
    return 0;
  }
  set_log_context("agent");
  AgentPlan plan;
  plan.options = *std::move(options);
  const absl::StatusOr<int> workers =
      resolve_worker_count(plan.options.nproc_per_node, count_cpus(), count_gpus(environment));
  if (!workers.ok()) return fail(workers.status());
  plan.workers = *workers;
  if (const absl::Status fits = check_minimum(plan.options, plan.workers); !fits.ok())
    return fail(fits);
  absl::StatusOr<std::vector<std::string>> command = resolve_command(plan.options, environment);
  if (!command.ok()) return fail(command.status());
  plan.command = *std::move(command);
  plan.environment = whole_environment();
  plan.kill_delay = kill_delay_for_tests();
  say_notices(plan.options, plan.workers);
  name_job(plan.options);
  const absl::StatusOr<int> code = run(std::move(plan));
  return code.ok() ? *code : fail(code.status());
}

}  // namespace spillway
