// SPDX-License-Identifier: Apache-2.0
#include "join_job.h"

#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <system_error>

#include "absl/strings/str_cat.h"
#include "coordinated_job.h"
#include "coordinator_mark.h"
#include "host_addresses.h"
#include "spillway/base/environment.h"
#include "spillway/base/log.h"
#include "spillway/base/rng.h"
#include "spillway/base/status.h"

namespace spillway {
namespace {

constexpr std::chrono::seconds kConnectMax{60};
// All workers of a single node are waited for this long before the first epoch begins without
// some of them.
constexpr std::chrono::seconds kLastCallAlone{5};
constexpr std::uint32_t kWorkersMax = 65536;

coordinator::NodeHello hello_of(const RunOptions& options, int workers)
{
  coordinator::NodeHello hello;
  hello.job = options.job;
  while (hello.session == 0) hello.session = secure_random_u64();
  hello.host = host_name();
  hello.pid = getpid();
  hello.slots = static_cast<std::uint32_t>(workers);
  hello.options.nodes_min = static_cast<std::uint32_t>(options.nodes_min);
  hello.options.nodes_max = static_cast<std::uint32_t>(options.nodes_max);
  const bool alone = options.nodes_max == 1;
  hello.options.workers_max = alone ? hello.slots : kWorkersMax;
  hello.options.workers_min =
      std::min(hello.options.workers_max,
               static_cast<std::uint32_t>(options.min_workers.value_or(options.nodes_min)));
  hello.options.lease = options.lease;
  hello.options.join_timeout = options.join_timeout;
  if (alone) hello.options.last_call = kLastCallAlone;
  return hello;
}

// The coordinator of a standalone job listens where only this user reaches it.
absl::Status carry_alone(const RunOptions& options, const Clock& clock, CoordinatedParts& parts,
                         std::string& address)
{
  address = absl::StrCat("unix:", parts.folder.socket("coordinator"));
  CarriedOptions carried;
  carried.store = options.store;
  carried.server.addresses = {address};
  SPILLWAY_ASSIGN_OR_RETURN(parts.carried, CarriedCoordinator::start(carried, clock));
  log_info("job ", options.job,
           ": its coordinator is in this process; to look at it: ", "spillway status --endpoint ",
           address);
  return absl::OkStatus();
}

std::string mark_folder()
{
  return environment(kMarkFolderVariable).value_or(kMarkFolder);
}

// The coordinator of this port that is away and meant to come back; with the same store this
// process may be it.
std::optional<CoordinatorMark> awaited_coordinator(const RunOptions& options)
{
  std::optional<CoordinatorMark> mark = find_mark(mark_folder(), options.endpoint_port);
  std::error_code error;
  if (mark && !options.store.empty() &&
      std::filesystem::weakly_canonical(options.store, error) ==
          std::filesystem::weakly_canonical(mark->store, error))
    return std::nullopt;
  return mark;
}

std::string in_words(const CoordinatorMark& mark)
{
  return absl::StrCat("the coordinator that listened at port ", mark.port, " (pid ", mark.pid,
                      ", jobs kept in ", mark.store, ") is away and meant to come back: start it ",
                      "again with its store; if it never will, remove ",
                      mark_path(mark_folder(), mark.port));
}

// Nobody listens at an endpoint of this host: this process becomes the coordinator, unless it is
// known whose place that is. If another one is faster, it is the one to connect to. Port 0 is any
// free one; `address` is then what it came to be.
absl::Status carry_if_nobody_does(const RunOptions& options, const Clock& clock,
                                  std::string& address, CoordinatedParts& parts)
{
  const bool here = is_this_host(options.endpoint_host);
  const bool any_port = options.endpoint_port == 0;
  if (any_port && !here)
    return absl::InvalidArgumentError(absl::StrCat(
        "--rdzv-endpoint ", address, ": port 0 means any free one of this host, which ",
        options.endpoint_host, " is not"));
  if (!here || (!any_port && somebody_listens(options.endpoint_host, options.endpoint_port)))
  {
    if (!options.store.empty())
      log_info("--store ", options.store, ": not used, the coordinator at ", address,
               " keeps its jobs itself");
    return absl::OkStatus();
  }
  if (const auto mark = any_port ? std::nullopt : awaited_coordinator(options))
  {
    log_warning("job ", options.job, ": ", in_words(*mark));
    return absl::OkStatus();
  }
  CarriedOptions carried;
  carried.store = options.store;
  carried.server.addresses = {address};
  carried.server.insecure = options.insecure;
  carried.stands_in = true;
  if (!options.store.empty()) carried.mark_folder = mark_folder();
  absl::StatusOr<std::unique_ptr<CarriedCoordinator>> started =
      CarriedCoordinator::start(carried, clock);
  if (!started.ok())
    return started.status().code() == absl::StatusCode::kUnavailable &&
                   somebody_listens(options.endpoint_host, options.endpoint_port)
               ? absl::OkStatus()
               : started.status();
  parts.carried = *std::move(started);
  if (any_port)
  {
    address = parts.carried->addresses().front();
    log_info("job ", options.job, ": the coordinator is in this process; other nodes join it by ",
             "--rdzv-endpoint ", address);
    return absl::OkStatus();
  }
  log_info("job ", options.job, ": nobody listened at ", address,
           ", so the coordinator is in this process");
  return absl::OkStatus();
}

}  // namespace

void name_job(RunOptions& options)
{
  if (!options.job.empty()) return;
  options.job = options.rendezvous == RendezvousKind::kStandalone
                    ? absl::StrCat(absl::Hex(secure_random_u64(), absl::kZeroPad16))
                    : "none";
}

absl::StatusOr<JoinedJob> join_job(const RunOptions& options, int workers, Supervisor& supervisor,
                                   const Clock& clock)
{
  JoinedJob joined;
  if (!options.local_addr.empty()) joined.node_address = options.local_addr;
  if (options.rendezvous == RendezvousKind::kStatic)
  {
    joined.control = make_local_job(workers);
    return joined;
  }
  SPILLWAY_ASSIGN_OR_RETURN(SocketFolder folder,
                            SocketFolder::create(environment("TMPDIR").value_or("/tmp")));
  CoordinatedParts parts{std::move(folder), hello_of(options, workers), std::nullopt, nullptr};
  coordinator::AgentClientOptions client;
  if (options.rendezvous == RendezvousKind::kStandalone)
    SPILLWAY_RETURN_IF_ERROR(carry_alone(options, clock, parts, client.address));
  else
  {
    client.address = endpoint_text(options.endpoint_host, options.endpoint_port);
    SPILLWAY_RETURN_IF_ERROR(carry_if_nobody_does(options, clock, client.address, parts));
    if (options.local_addr.empty())
      joined.node_address = own_address_towards(options.endpoint_host, options.endpoint_port);
  }
  SPILLWAY_ASSIGN_OR_RETURN(parts.port, PortReservation::take_run(kPortsOfANode));
  parts.hello.master_port = static_cast<std::uint32_t>(parts.port->port());
  parts.hello.address = joined.node_address;
  SPILLWAY_ASSIGN_OR_RETURN(std::unique_ptr<CoordinatedJob> job,
                            CoordinatedJob::open(std::move(parts), supervisor));
  client.connect_timeout = std::min<Duration>(options.join_timeout, kConnectMax);
  client.give_up = [&] {
    job->step_aside_if_unwanted();
    for (const SupervisorEvent& event : supervisor.wait(clock.now()))
      if (const auto* signal = std::get_if<SignalReceived>(&event))
        joined.stopped_by = signal->number;
    return joined.stopped_by != 0;
  };
  job->limit_absence({&clock, client.address, options.lease, options.join_timeout});
  const absl::Status connected = job->connect(client, clock);
  if (joined.stopped_by != 0) return joined;
  // Whoever refuses this node is there.
  const bool unheard = absl::IsUnavailable(connected) || absl::IsDeadlineExceeded(connected);
  if (unheard && options.rendezvous == RendezvousKind::kCoordinator)
    if (const auto mark = awaited_coordinator(options); mark && is_this_host(options.endpoint_host))
      return absl::Status(connected.code(),
                          absl::StrCat(connected.message(), "; ", in_words(*mark)));
  SPILLWAY_RETURN_IF_ERROR(connected);
  joined.control = std::move(job);
  return joined;
}

}  // namespace spillway
