// SPDX-License-Identifier: Apache-2.0
#include <signal.h>
#include <sys/resource.h>
#include <time.h>

#include <cmath>
#include <cstdio>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "carried_coordinator.h"
#include "commands.h"
#include "coordinator_mark.h"
#include "host_addresses.h"
#include "operator_flags.h"
#include "spillway/base/environment.h"
#include "spillway/base/log.h"
#include "spillway/base/status.h"
#include "spillway/launcher/exit_code.h"
#include "spillway/launcher/run_options.h"

namespace spillway {
namespace {

constexpr std::chrono::seconds kAddressBound{3};

constexpr OperatorFlag kFlags[] = {
    {"listen", "ADDR", "HOST:PORT or unix:/PATH; may be repeated (127.0.0.1:29400)", true},
    {"store", "FILE", "SQLite file that keeps the jobs over a restart, or memory (memory)"},
    {"insecure", nullptr, "listen beyond loopback although nothing is encrypted yet"},
    {"node-timeout", "SECONDS", "an agent that is not heard for this long is judged silent (3)"},
    {"reconnect-grace", "SECONDS", "after a start agents have this long to come back (5)"},
};
constexpr char kUsage[] = "spillway coordinator [flags]";
constexpr char kAbout[] =
    "Serves the membership of jobs until SIGTERM or SIGINT. Ends with 0 then, 2 for wrong flags,\n"
    "69 for an address that cannot be had, 71 for a store that cannot be written, 76 for a store\n"
    "that is damaged or that another coordinator has taken over.\n";

absl::StatusOr<CarriedOptions> options_of(const OperatorArguments& given)
{
  CarriedOptions options;
  if (!given.words.empty())
    return absl::InvalidArgumentError(
        absl::StrCat("'", given.words[0], "' is no flag; usage: ", kUsage));
  if (given.has("listen")) options.server.addresses = given.values.at("listen");
  options.store = given.value("store", "memory");
  options.mark_folder = environment(kMarkFolderVariable).value_or(kMarkFolder);
  options.server.insecure = given.has("insecure");
  const auto to_span = [](double seconds) {
    return std::chrono::milliseconds(std::llround(seconds * 1000));
  };
  SPILLWAY_ASSIGN_OR_RETURN(const double silence,
                            seconds_of("node-timeout", given.value("node-timeout", "3"), 3600));
  SPILLWAY_ASSIGN_OR_RETURN(
      const double grace, seconds_of("reconnect-grace", given.value("reconnect-grace", "5"), 3600));
  options.coordinator.runner.node_timeout = to_span(silence);
  options.coordinator.runner.reconnect_grace = to_span(grace);
  return options;
}

// Somebody of this host listens where this coordinator is to.
bool is_taken(const std::string& address)
{
  int port = 0;
  const std::size_t colon = address.rfind(':');
  if (absl::StartsWith(address, "unix:") || colon == std::string::npos ||
      !absl::SimpleAtoi(address.substr(colon + 1), &port) || port == 0)
    return false;
  std::string host = address.substr(0, colon);
  if (absl::StartsWith(host, "[")) host = host.substr(1, host.size() - 2);
  if (host == "0.0.0.0" || host == "::") host = "localhost";
  return is_this_host(host) && somebody_listens(host, port);
}

// A coordinator that only stands in ends when the first agent of the job calls; one that is being
// replaced may not have ended yet. Before the store is opened, which would depose whoever uses it.
// A signal that comes meanwhile, or 0.
absl::StatusOr<int> wait_for_addresses(const std::vector<std::string>& addresses,
                                       const sigset_t& ends)
{
  const timespec interval{0, 100 * 1000 * 1000};
  const MonotonicTime give_up = deadline_after(system_clock().now(), kAddressBound);
  bool said = false;
  for (const std::string& address : addresses)
    while (is_taken(address))
    {
      if (system_clock().now() >= give_up)
        return absl::UnavailableError(
            absl::StrCat("cannot listen on ", address, ": Address already in use"));
      if (!std::exchange(said, true)) log_info(address, " is in use; waits for it for a moment");
      if (const int number = sigtimedwait(&ends, nullptr, &interval); number > 0) return number;
    }
  return 0;
}

// The signal that ended it, or 0 if another coordinator took over.
int serve(const CarriedCoordinator& coordinator, const sigset_t& ends)
{
  const timespec interval{0, 200 * 1000 * 1000};
  while (!coordinator.deposed())
  {
    const int number = sigtimedwait(&ends, nullptr, &interval);
    if (number > 0) return number;
  }
  return 0;
}

// One connection a node, and operators: gRPC's listener hears nobody any more once it has met the
// limit of descriptors, so the limit is as high as it may be.
void lift_descriptor_limit()
{
  rlimit limit = {};
  if (getrlimit(RLIMIT_NOFILE, &limit) != 0) return;
  limit.rlim_cur = limit.rlim_max;
  setrlimit(RLIMIT_NOFILE, &limit);
  log_debug("at most ", limit.rlim_max, " descriptors");
}

absl::StatusOr<int> run(const OperatorArguments& given)
{
  SPILLWAY_ASSIGN_OR_RETURN(const CarriedOptions options, options_of(given));
  lift_descriptor_limit();
  sigset_t ends;
  sigemptyset(&ends);
  for (const int number : {SIGTERM, SIGINT, SIGHUP}) sigaddset(&ends, number);
  sigprocmask(SIG_BLOCK, &ends, nullptr);  // before there is any other thread
  // A store that may not grow, or a log that nobody reads, is an error code for us and no end.
  signal(SIGXFSZ, SIG_IGN);
  signal(SIGPIPE, SIG_IGN);
  SPILLWAY_ASSIGN_OR_RETURN(const int early, wait_for_addresses(options.server.addresses, ends));
  if (early != 0) return 0;
  SPILLWAY_ASSIGN_OR_RETURN(const std::unique_ptr<CarriedCoordinator> coordinator,
                            CarriedCoordinator::start(options, system_clock()));
  log_info("listens on ", absl::StrJoin(coordinator->addresses(), ", "), "; jobs are kept in ",
           options.store);
  const int number = serve(*coordinator, ends);
  if (number == 0) return to_int(ExitCode::kRefused);
  log_info("received ", signal_name(number), ": ends; agents go on and call again");
  return 0;
}

}  // namespace

int coordinator_command(const std::vector<std::string>& arguments)
{
  set_log_context("coordinator");
  const absl::StatusOr<OperatorArguments> given =
      read_operator_flags("coordinator", kFlags, arguments);
  if (given.ok() && given->has("help"))
  {
    std::fputs(operator_help(kUsage, kAbout, kFlags).c_str(), stdout);
    return 0;
  }
  const absl::StatusOr<int> code = given.ok() ? run(*given) : given.status();
  if (code.ok()) return *code;
  std::fprintf(stderr, "spillway coordinator: %s\n", std::string(code.status().message()).c_str());
  return to_int(exit_code_for(code.status()));
}

}  // namespace spillway
