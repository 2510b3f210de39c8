// SPDX-License-Identifier: Apache-2.0
#include "spillway/launcher/log_folder.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <filesystem>
#include <system_error>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "spillway/base/log.h"

namespace spillway {
namespace {

namespace fs = std::filesystem;

// Without the file the worker runs all the same; an alarm says that its log is missing.
std::shared_ptr<LogFile> open_log(const std::string& path)
{
  std::error_code error;
  fs::create_directories(fs::path(path).parent_path(), error);
  absl::StatusOr<std::unique_ptr<LogFile>> file = LogFile::open(path);
  if (file.ok()) return std::move(*file);
  log_error("ALARM: ", file.status().message(), "; training goes on without this log");
  return nullptr;
}

}  // namespace

absl::StatusOr<LogFolder> LogFolder::create(const RunOptions& options,
                                            const EnvironmentLookup& lookup)
{
  const std::string temporary = lookup("TMPDIR").value_or("/tmp");
  const std::string root = options.log_dir.empty() ? temporary : options.log_dir;
  std::error_code error;
  fs::create_directories(root, error);
  const std::string job = absl::StrReplaceAll(options.job, {{"/", "_"}});
  std::string pattern = absl::StrCat(root, "/", options.log_dir.empty() ? "spillway_" : "",
                                     job.empty() ? "none" : job, "_XXXXXX");
  if (mkdtemp(pattern.data()) == nullptr)
  {
    return absl::ResourceExhaustedError(
        absl::StrCat(options.log_dir.empty() ? "TMPDIR " : "--log-dir ", root,
                     " cannot be written: ", strerror(errno)));
  }
  return LogFolder(pattern);
}

std::string LogFolder::error_file(int attempt, int local_rank) const
{
  return absl::StrCat(path_, "/attempt_", attempt, "/", local_rank, "/error.json");
}

void LogFolder::plan(const RunOptions& options, int attempt, int rank, Supervisor& supervisor,
                     WorkerLaunch& launch) const
{
  const int local_rank = launch.slot;
  const std::string folder = absl::StrCat(path_, "/attempt_", attempt, "/", local_rank, "/");
  std::error_code error;
  fs::create_directories(folder, error);
  const bool shown =
      options.local_ranks_filter.empty() || options.local_ranks_filter.contains(local_rank);
  for (int which = 0; which < 2; ++which)
  {
    const int bit = 1 << which;
    const bool redirected = (options.redirects.of(local_rank) & bit) != 0;
    const bool teed = (options.tee.of(local_rank) & bit) != 0;
    OutputPlan& plan = which == 0 ? launch.out : launch.err;
    const std::string name = which == 0 ? "stdout" : "stderr";
    if (redirected || teed) plan.file = open_log(absl::StrCat(folder, name, ".log"));
    plan.filters = which == 0 ? options.stdout_filters : options.stderr_filters;
    if (!plan.filters.empty())
      plan.filtered = open_log(absl::StrCat(folder, "filtered_", name, ".log"));
    if (!shown || (redirected && !teed)) continue;
    plan.console = which == 0 ? &supervisor.console_out() : &supervisor.console_err();
    if (teed)
      plan.line_prefix =
          line_prefix(options.log_line_prefix_template, {options.role, local_rank, rank});
  }
}

}  // namespace spillway
