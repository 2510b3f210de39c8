// SPDX-License-Identifier: Apache-2.0
#include "carried_coordinator.h"

#include <unistd.h>

#include <filesystem>
#include <system_error>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "coordinator_mark.h"
#include "spillway/base/log.h"
#include "spillway/base/status.h"

namespace spillway {
namespace {

// A node that is not connected may be on its way back for as long.
constexpr double kComesBackSeconds = 10;

absl::StatusOr<std::unique_ptr<coordinator::Store>> open_store(const std::string& name)
{
  if (name.empty() || name == "memory")
    return coordinator::open_memory_store(coordinator::make_memory_disk());
  return coordinator::open_sqlite_store(name);
}

// 0 for a UNIX socket.
int port_of(const std::string& address)
{
  int port = 0;
  const std::size_t colon = address.rfind(':');
  const bool tcp = !absl::StartsWith(address, "unix:") && colon != std::string::npos;
  return tcp && absl::SimpleAtoi(address.substr(colon + 1), &port) ? port : 0;
}

}  // namespace

absl::StatusOr<std::unique_ptr<CarriedCoordinator>> CarriedCoordinator::start(
    const CarriedOptions& options, const Clock& clock)
{
  SPILLWAY_ASSIGN_OR_RETURN(auto store, open_store(options.store));
  std::unique_ptr<CarriedCoordinator> carried(new CarriedCoordinator);
  auto on_deposed = [flag = &carried->deposed_](const absl::Status& why) {
    *flag = true;
    log_error("ALARM: this coordinator is deposed: ", why.message());
  };
  coordinator::CoordinatorOptions with = options.coordinator;
  if (options.stands_in)
    with.runner.on_unknown_life = [flag = &carried->unwanted_](const absl::Status& why) {
      *flag = true;
      log_warning(why.message());
    };
  SPILLWAY_ASSIGN_OR_RETURN(
      carried->coordinator_,
      coordinator::Coordinator::open(std::move(store), with, clock, std::move(on_deposed)));
  SPILLWAY_ASSIGN_OR_RETURN(carried->server_,
                            coordinator::Server::listen(options.server, *carried->coordinator_));
  carried->leave_marks(options);
  return carried;
}

// Once it listens: the mark that is replaced may be another one's until then.
void CarriedCoordinator::leave_marks(const CarriedOptions& options)
{
  mark_folder_ = options.mark_folder;
  if (mark_folder_.empty()) return;
  const bool file = !options.store.empty() && options.store != "memory";
  std::error_code error;
  const std::string store =
      file ? std::filesystem::absolute(options.store, error).string() : "memory";
  for (const std::string& address : addresses())
  {
    const int port = port_of(address);
    if (port == 0) continue;
    const absl::Status left = leave_mark(mark_folder_, {port, getpid(), store});
    if (left.ok())
      marked_ports_.push_back(port);
    else
      log_warning(left.message(),
                  "; while this coordinator is away, an agent of this host that is ",
                  "started with its address may take its place");
  }
}

// While it still listens: after that the mark may be the next one's.
CarriedCoordinator::~CarriedCoordinator()
{
  if (marked_ports_.empty() || deposed_) return;
  int nodes = 0;
  for (const auto& job : coordinator_->list_jobs())
    if (job.ended.empty()) nodes += nodes_of(job.job, NodeId());
  if (nodes > 0)
    log_info(nodes, " nodes will call again; until a coordinator is back, agents that start on ",
             "this host wait for it");
  else
    for (const int port : marked_ports_) remove_own_mark(mark_folder_, port);
}

int CarriedCoordinator::other_nodes(const std::string& job, NodeId own)
{
  return unwanted_ ? 0 : nodes_of(job, own);
}

int CarriedCoordinator::nodes_of(const std::string& job, NodeId besides)
{
  const absl::StatusOr<coordinator::JobRunner*> runner = coordinator_->existing_job(job);
  if (!runner.ok()) return 0;
  const absl::StatusOr<coordinator::JobReport> report = (*runner)->report();
  if (!report.ok()) return 0;
  int count = 0;
  for (const auto& node : report->nodes)
  {
    const bool there = node.connected || node.last_heard_seconds < kComesBackSeconds;
    if (node.node != besides && there) ++count;
  }
  return count;
}

}  // namespace spillway
