// SPDX-License-Identifier: Apache-2.0
#include <cmath>
#include <cstdio>
#include <functional>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "commands.h"
#include "find_coordinator.h"
#include "operator_flags.h"
#include "spillway/base/environment.h"
#include "spillway/base/status.h"
#include "spillway/coordinator/agent_client.h"
#include "spillway/launcher/exit_code.h"

namespace spillway {
namespace {

using coordinator::ControlClient;

constexpr OperatorFlag kEndpoint = {"endpoint", "ADDR",
                                    "HOST:PORT or unix:/PATH of the coordinator "
                                    "($SPILLWAY_ENDPOINT, or 127.0.0.1:29400, or that of "
                                    "the only standalone job here)"};
constexpr OperatorFlag kTimeout = {"timeout", "SECONDS", "how long to wait for its answer (10)"};
constexpr OperatorFlag kJson = {"json", nullptr, "one JSON object instead of text"};
constexpr OperatorFlag kReason = {"reason", "TEXT", "is kept with the decision"};
constexpr OperatorFlag kShowFlags[] = {kEndpoint, kTimeout, kJson};
constexpr OperatorFlag kAdoptFlags[] = {kEndpoint, kTimeout};
constexpr OperatorFlag kAbandonFlags[] = {kEndpoint, kTimeout, kReason};
constexpr char kExitCodes[] =
    "\nEnds with 0, 2 for wrong arguments, 69 if the coordinator cannot be reached, 76 if it\n"
    "refuses, 127 if there is no such job, worker or node.\n";

// Finds the coordinator; called once the arguments are known to be right.
using Reach = std::function<absl::StatusOr<ControlClient>()>;

struct Command
{
  const char* name;
  const char* usage;
  const char* about;
  absl::Span<const OperatorFlag> flags;
  std::size_t words_min;
  std::size_t words_max;
  absl::Status (*act)(const Reach& reach, const OperatorArguments& given);
};

int run(const Command& command, const std::vector<std::string>& arguments)
{
  const auto fail = [&](const absl::Status& status) {
    std::fprintf(stderr, "spillway %s: %s\n", command.name, std::string(status.message()).c_str());
    return to_int(exit_code_for(status));
  };
  const absl::StatusOr<OperatorArguments> given =
      read_operator_flags(command.name, command.flags, arguments);
  if (!given.ok()) return fail(given.status());
  if (given->has("help"))
  {
    const std::string about = absl::StrCat(command.about, kExitCodes);
    std::fputs(operator_help(command.usage, about, command.flags).c_str(), stdout);
    return 0;
  }
  if (given->words.size() < command.words_min || given->words.size() > command.words_max)
    return fail(absl::InvalidArgumentError(absl::StrCat("usage: ", command.usage)));
  const absl::StatusOr<double> seconds = seconds_of("timeout", given->value("timeout", "10"), 3600);
  if (!seconds.ok()) return fail(seconds.status());
  const Reach reach = [&]() -> absl::StatusOr<ControlClient> {
    std::string endpoint = given->value("endpoint", environment("SPILLWAY_ENDPOINT").value_or(""));
    if (endpoint.empty())
    {
      SPILLWAY_ASSIGN_OR_RETURN(endpoint, find_coordinator(environment("TMPDIR").value_or("/tmp")));
    }
    return ControlClient(endpoint, std::chrono::milliseconds(std::llround(*seconds * 1000)));
  };
  const absl::Status status = command.act(reach, *given);
  return status.ok() ? 0 : fail(status);
}

void print(const std::string& text)
{
  std::fputs(text.c_str(), stdout);
  if (!absl::EndsWith(text, "\n")) std::fputs("\n", stdout);
}

absl::Status show(const Reach& reach, const OperatorArguments& given, bool explain)
{
  SPILLWAY_ASSIGN_OR_RETURN(ControlClient client, reach());
  const bool json = given.has("json");
  std::string job = given.words.empty() ? "" : given.words[0];
  if (job.empty())
  {
    // Several jobs, or none: which there are is what one wants to know.
    SPILLWAY_ASSIGN_OR_RETURN(const std::vector<coordinator::JobSummary> jobs, client.list_jobs());
    if (jobs.size() != 1 && !explain)
    {
      print(json ? coordinator::to_json(jobs)
                 : absl::StrCat(jobs.size(), " jobs", jobs.empty() ? "" : ":"));
      for (const auto& one : jobs)
      {
        if (json) continue;
        print(absl::StrCat("  ", one.job, ": ", one.members, " members in number ",
                           one.epoch.value(), one.ended.empty() ? "" : ", over: ", one.ended));
      }
      return absl::OkStatus();
    }
  }
  SPILLWAY_ASSIGN_OR_RETURN(const coordinator::JobReport report, client.report(job));
  print(json ? coordinator::to_json(report) : coordinator::to_text(report, explain));
  return absl::OkStatus();
}

absl::Status show_status(const Reach& reach, const OperatorArguments& given)
{
  return show(reach, given, false);
}

absl::Status show_explanation(const Reach& reach, const OperatorArguments& given)
{
  return show(reach, given, true);
}

absl::Status adopt(const Reach& reach, const OperatorArguments& given)
{
  const std::string job = given.words.size() > 1 ? given.words[0] : "";
  SPILLWAY_ASSIGN_OR_RETURN(const std::uint64_t lineage, lineage_of(given.words.back()));
  SPILLWAY_ASSIGN_OR_RETURN(ControlClient client, reach());
  SPILLWAY_RETURN_IF_ERROR(client.adopt(job, Lineage(lineage)));
  print(absl::StrCat("lineage ", lineage, " is adopted; spillway explain shows how it goes on"));
  return absl::OkStatus();
}

absl::Status abandon(const Reach& reach, const OperatorArguments& given)
{
  const std::string job = given.words.size() > 1 ? given.words[0] : "";
  std::string whom = given.words.back();
  const std::string reason = given.value("reason", "");
  const bool node = absl::StartsWith(whom, "node:");
  if (node) whom = whom.substr(5);
  SPILLWAY_ASSIGN_OR_RETURN(const std::uint64_t id, id_of(node ? "node" : "worker", whom));
  SPILLWAY_ASSIGN_OR_RETURN(ControlClient client, reach());
  SPILLWAY_RETURN_IF_ERROR(node ? client.abandon_node(job, NodeId(id), reason)
                                : client.abandon_worker(job, WorkerId(id), reason));
  print(absl::StrCat(node ? "node " : "worker ", id, " is given up for good"));
  return absl::OkStatus();
}

}  // namespace

int status_command(const std::vector<std::string>& arguments)
{
  return run({"status", "spillway status [JOB] [flags]",
              "Who is in, and how far; without a name the only job, or the list of all.",
              kShowFlags, 0, 1, show_status},
             arguments);
}
int explain_command(const std::vector<std::string>& arguments)
{
  return run({"explain", "spillway explain [JOB] [flags]",
              "Who is missing, what happens next, and the last decisions with their reasons.",
              kShowFlags, 0, 1, show_explanation},
             arguments);
}
int adopt_command(const std::vector<std::string>& arguments)
{
  return run({"adopt", "spillway adopt [JOB] LINEAGE [flags]",
              "Goes on with what the waiting workers hold although the job's record is lost;\n"
              "explain names the lineage.",
              kAdoptFlags, 1, 2, adopt},
             arguments);
}
int abandon_command(const std::vector<std::string>& arguments)
{
  return run({"abandon", "spillway abandon [JOB] WORKER|node:NODE [flags]",
              "Declares a worker, or a node with all its workers, dead for good. What only they\n"
              "hold is lost.",
              kAbandonFlags, 1, 2, abandon},
             arguments);
}

}  // namespace spillway
