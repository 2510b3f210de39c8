// SPDX-License-Identifier: Apache-2.0
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>

#include <map>

#include "absl/strings/str_replace.h"
#include "spillway/launcher/flag_table.h"
#include "spillway/launcher/run_options.h"

namespace spillway {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using Environment = std::map<std::string, std::string>;

EnvironmentLookup lookup_in(const Environment& variables)
{
  return [variables](const std::string& name) -> std::optional<std::string> {
    const auto found = variables.find(name);
    if (found == variables.end()) return std::nullopt;
    return found->second;
  };
}

absl::StatusOr<RunOptions> parse(const std::vector<std::string>& arguments,
                                 const Environment& variables = {})
{
  return parse_run_options(arguments, lookup_in(variables));
}

RunOptions accepted(const std::vector<std::string>& arguments, const Environment& variables = {})
{
  absl::StatusOr<RunOptions> options = parse(arguments, variables);
  EXPECT_TRUE(options.ok()) << options.status();
  return options.ok() ? *options : RunOptions();
}

std::string refusal(const std::vector<std::string>& arguments, const Environment& variables = {})
{
  const absl::StatusOr<RunOptions> options = parse(arguments, variables);
  EXPECT_EQ(options.status().code(), absl::StatusCode::kInvalidArgument);
  return std::string(options.status().message());
}

// One value for each flag that is neither the default nor contradicts anything, and how to see it.
struct FlagCase
{
  const char* name;
  const char* value;  // "" for a switch
  std::function<bool(const RunOptions&)> seen;
};

bool noted(const RunOptions& options, const std::string& text)
{
  for (const std::string& notice : options.notices)
  {
    if (notice.find(text) != std::string::npos) return true;
  }
  return false;
}

const std::vector<FlagCase>& torchrun_cases()
{
  using O = const RunOptions&;
  static const std::vector<FlagCase> cases = {
      {"nnodes", "1:1", [](O o) { return o.nodes_max == 1; }},
      {"nproc-per-node", "5", [](O o) { return o.nproc_per_node == "5"; }},
      {"rdzv-backend", "static", [](O o) { return o.rendezvous == RendezvousKind::kStatic; }},
      {"rdzv-endpoint", "h:7", [](O o) { return o.endpoint_host == "h" && o.endpoint_port == 7; }},
      {"rdzv-id", "j7", [](O o) { return o.job == "j7"; }},
      {"rdzv-conf", "timeout=9", [](O o) { return o.join_timeout == std::chrono::seconds(9); }},
      {"standalone", "", [](O o) { return o.rendezvous == RendezvousKind::kStandalone; }},
      {"max-restarts", "7", [](O o) { return o.max_restarts == 7; }},
      {"monitor-interval", "0.5", [](O o) { return o.monitor_interval.count() == 500; }},
      {"start-method", "fork", [](O o) { return noted(o, "--start-method"); }},
      {"event-log-handler", "console", [](O o) { return noted(o, "--event-log-handler"); }},
      {"role", "trainer", [](O o) { return o.role == "trainer"; }},
      {"module", "", [](O o) { return o.program_kind == ProgramKind::kModule; }},
      {"no-python", "", [](O o) { return o.program_kind == ProgramKind::kExecutable; }},
      {"run-path", "", [](O o) { return o.program_kind == ProgramKind::kRunPath; }},
      {"log-dir", "/d", [](O o) { return o.log_dir == "/d"; }},
      {"redirects", "3", [](O o) { return o.redirects.of(4) == 3; }},
      {"tee", "0:1,1:2",
       [](O o) { return o.tee.of(0) == 1 && o.tee.of(1) == 2 && o.tee.of(2) == 0; }},
      {"local-ranks-filter", "0,2",
       [](O o) {
         return o.local_ranks_filter == std::set<int>{0, 2};
       }},
      {"duplicate-stdout-filters", "a,b", [](O o) { return o.stdout_filters.size() == 2; }},
      {"duplicate-stderr-filters", "c", [](O o) { return o.stderr_filters.size() == 1; }},
      {"logs-specs", "default", [](O o) { return noted(o, "--logs-specs"); }},
      {"node-rank", "0", [](O o) { return o.node_rank == 0; }},
      {"master-addr", "10.0.0.9", [](O o) { return o.master_addr == "10.0.0.9"; }},
      {"master-port", "1234", [](O o) { return o.master_port == 1234; }},
      {"local-addr", "10.0.0.1", [](O o) { return o.local_addr == "10.0.0.1"; }},
      {"numa-binding", "node", [](O o) { return noted(o, "--numa-binding"); }},
      {"signals-to-handle", "SIGUSR1,TERM",
       [](O o) {
         return o.signals == std::vector{SIGUSR1, SIGTERM};
       }},
      {"shutdown-timeout", "2", [](O o) { return o.shutdown_timeout.count() == 2000; }},
      {"virtual-local-rank", "", [](O o) { return o.virtual_local_rank; }},
      {"log-line-prefix-template", "<${rank}>",
       [](O o) { return o.log_line_prefix_template == "<${rank}>"; }},
  };
  return cases;
}

TEST(Flags, EveryTorchrunFlagActsInEachSpelling)
{
  for (const FlagCase& flag : torchrun_cases())
  {
    const std::string dashed = std::string("--") + flag.name;
    const std::string underscored = "--" + absl::StrReplaceAll(flag.name, {{"-", "_"}});
    for (const std::string& spelling : {dashed, underscored})
    {
      std::vector<std::string> arguments{spelling};
      if (*flag.value != 0) arguments.push_back(flag.value);
      arguments.push_back("prog");
      EXPECT_TRUE(flag.seen(accepted(arguments))) << spelling;
      if (*flag.value == 0) continue;
      EXPECT_TRUE(flag.seen(accepted({spelling + "=" + flag.value, "prog"}))) << spelling << "=";
    }
  }
}

TEST(Flags, EveryTorchrunFlagHasItsVariable)
{
  for (const FlagCase& flag : torchrun_cases())
  {
    const FlagSpec* spec = find_run_flag(flag.name);
    ASSERT_NE(spec, nullptr) << flag.name;
    if (!spec->has_variable) continue;
    const std::string variable = variable_of(*spec);
    EXPECT_EQ(variable.rfind("PET_", 0), 0U) << variable;
    const std::string value = *flag.value == 0 ? "1" : flag.value;
    EXPECT_TRUE(flag.seen(accepted({"prog"}, {{variable, value}}))) << variable;
  }
}

TEST(Flags, TheTableAndTheCasesAreTheSameList)
{
  std::size_t from_torchrun = 0;
  for (const FlagSpec& flag : run_flags()) from_torchrun += flag.origin == FlagOrigin::kTorchrun;
  EXPECT_EQ(from_torchrun, torchrun_cases().size());
}

TEST(Flags, TheCommandLineWinsOverTheVariable)
{
  EXPECT_EQ(accepted({"--max-restarts", "2", "p"}, {{"PET_MAX_RESTARTS", "9"}}).max_restarts, 2);
}

TEST(Flags, ShortNamesAndShortenedNames)
{
  EXPECT_EQ(accepted({"-r", "3", "p"}).redirects.of(0), 3);
  EXPECT_EQ(accepted({"-t3", "p"}).tee.of(0), 3);
  EXPECT_EQ(accepted({"-m", "mod", "x"}).program_kind, ProgramKind::kModule);
  EXPECT_EQ(accepted({"--nproc", "4", "p"}).nproc_per_node, "4");
  EXPECT_THAT(refusal({"--n", "4", "p"}), HasSubstr("--nnodes or --nproc-per-node"));
}

TEST(Flags, FlagsEndAtTheProgram)
{
  const RunOptions options = accepted({"--nnodes=1", "prog", "--nnodes", "4:2", "-x"});
  EXPECT_THAT(options.program, ElementsAre("prog", "--nnodes", "4:2", "-x"));
  EXPECT_THAT(accepted({"--", "--odd-name"}).program, ElementsAre("--odd-name"));
}

TEST(Flags, WithoutAnythingItIsOneNodeWithACoordinatorInside)
{
  const RunOptions options = accepted({"prog"});
  EXPECT_EQ(options.rendezvous, RendezvousKind::kStandalone);
  EXPECT_EQ(options.max_restarts, std::nullopt);
  EXPECT_EQ(options.shutdown_timeout, std::chrono::seconds(30));
  EXPECT_EQ(options.master_port, 29500);
  EXPECT_THAT(options.signals, ElementsAre(SIGTERM, SIGINT, SIGHUP, SIGQUIT));
}

TEST(Flags, AnEndpointMeansTheCoordinatorThere)
{
  const RunOptions options = accepted({"--nnodes", "1:4", "--rdzv-endpoint", "10.1.2.3", "prog"});
  EXPECT_EQ(options.rendezvous, RendezvousKind::kCoordinator);
  EXPECT_EQ(options.endpoint_port, 29400);
  EXPECT_EQ(accepted({"--rdzv-endpoint", "[::1]:5", "prog"}).endpoint_host, "::1");
}

struct Refusal
{
  std::vector<std::string> arguments;
  const char* says;
};

TEST(Flags, RefusalsSayWhatWouldBeRight)
{
  const std::vector<Refusal> refusals = {
      {{"--nnode-s", "2", "p"}, "did you mean --nnodes?"},
      {{"--max-restart_count", "2", "p"}, "did you mean --max-restarts?"},
      {{"--hepl", "p"}, "did you mean --help?"},
      {{"-z", "p"}, "-m, -r and -t"},
      {{"--nnodes", "4:2", "p"}, "did you mean 2:4?"},
      {{"--nnodes", "0", "p"}, "MIN:MAX"},
      {{"--nnodes", "1:2:3", "p"}, "MIN:MAX"},
      {{"--nproc-per-node", "many", "p"}, "number, auto, cpu or gpu"},
      {{"--nproc-per-node", "0", "p"}, "between 1"},
      {{"--redirects", "4", "p"}, "3 (both)"},
      {{"--tee", "0:1,x", "p"}, "LOCAL_RANK:N"},
      {{"--max-restarts", "-1", "p"}, "max-restarts"},
      {{"--max-restarts", "abc", "p"}, "max-restarts"},
      {{"--master-port", "99999", "p"}, "master-port"},
      {{"--signals-to-handle", "SIGFOO", "p"}, "SIGFOO"},
      {{"--signals-to-handle", "SIGKILL", "p"}, "cannot be handled"},
      {{"--rdzv-conf", "timeout", "p"}, "key=value"},
      {{"--rdzv-conf", "timeout=soon", "p"}, "seconds"},
      {{"--rdzv-conf", "join_timeuot=9", "p"}, "join_timeout"},
      {{"--rdzv-endpoint", "h:port", "p"}, "HOST:PORT"},
      {{"--rdzv-endpoint", ":3", "p"}, "no host"},
      {{"--rdzv-backend", "etcd", "p"}, "needs --rdzv-endpoint"},
      {{"--lease", "nan", "p"}, "--lease nan: must be a number of seconds"},
      {{"--monitor-interval", "NaN", "p"}, "must be a number of seconds"},
      {{"--rdzv-id", std::string(129, 'x'), "p"}, "129 characters"},
      {{"--standalone", "--nnodes", "2", "p"}, "--standalone is one node"},
      {{"--nnodes", "1:2", "p"}, "static cannot"},
      {{"--nnodes", "2", "--node-rank", "2", "p"}, "does not exist"},
      {{"--no-python", "-m", "p"}, "give one of them"},
      {{"--run-path", "--module", "p"}, "give one of them"},
      {{"--standalone=yes", "p"}, "takes no value"},
      {{"--role"}, "needs a value"},
      {{"--log-dir=", "p"}, "needs a value"},
      {{"--standalone"}, "no program given"},
      {{}, "no program given"},
  };
  for (const Refusal& bad : refusals) EXPECT_THAT(refusal(bad.arguments), HasSubstr(bad.says));
  EXPECT_THAT(refusal({"p"}, {{"PET_STANDALONE", "yes"}}), HasSubstr("must be 0 or 1"));
}

TEST(Flags, WorkerCount)
{
  EXPECT_EQ(*resolve_worker_count("3", 8, 0), 3);
  EXPECT_EQ(*resolve_worker_count("cpu", 8, 2), 8);
  EXPECT_EQ(*resolve_worker_count("auto", 8, 2), 2);
  EXPECT_EQ(*resolve_worker_count("auto", 8, 0), 8);
  EXPECT_EQ(*resolve_worker_count("gpu", 8, 2), 2);
  EXPECT_THAT(std::string(resolve_worker_count("gpu", 8, 0).status().message()),
              HasSubstr("no GPU"));
}

TEST(Flags, EditDistance)
{
  EXPECT_EQ(edit_distance("", "abc"), 3);
  EXPECT_EQ(edit_distance("nodes", "nnodes"), 1);
  EXPECT_EQ(edit_distance("teh", "the"), 1);
  EXPECT_EQ(nearest_name("rol", {"tee", "role", "module"}), "role");
}

TEST(Flags, SignalNames)
{
  EXPECT_EQ(signal_number("sigterm"), SIGTERM);
  EXPECT_EQ(signal_number("9"), SIGKILL);
  EXPECT_EQ(signal_number("SIGWHAT"), std::nullopt);
  EXPECT_EQ(signal_name(SIGSEGV), "SIGSEGV");
}

TEST(Flags, HelpNamesEveryFlag)
{
  const std::string help = run_help();
  for (const FlagSpec& flag : run_flags())
    EXPECT_THAT(help, HasSubstr("--" + std::string(flag.name)));
  EXPECT_TRUE(accepted({"--help"}).wants_help);
}

}  // namespace
}  // namespace spillway
