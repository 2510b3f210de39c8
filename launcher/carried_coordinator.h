// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "spillway/base/clock.h"
#include "spillway/coordinator/coordinator.h"
#include "spillway/coordinator/server.h"

namespace spillway {

struct CarriedOptions
{
  std::string store = "memory";  // or the file that outlives this process
  // It is meant to come back after a death: says so there (coordinator_mark.h). Empty: it does not.
  std::string mark_folder;
  // It only stands in because nobody listened: see unwanted().
  bool stands_in = false;
  coordinator::ServerOptions server;
  coordinator::CoordinatorOptions coordinator;
};

// A coordinator in this process: its store, its jobs and its door. Safe from any thread.
class CarriedCoordinator
{
 public:
  // As open_sqlite_store(), Coordinator::open() and Server::listen() fail.
  static absl::StatusOr<std::unique_ptr<CarriedCoordinator>> start(const CarriedOptions& options,
                                                                   const Clock& clock);
  // Takes the mark away, unless agents are left that will call again.
  ~CarriedCoordinator();
  CarriedCoordinator(const CarriedCoordinator&) = delete;
  CarriedCoordinator& operator=(const CarriedCoordinator&) = delete;
  const std::vector<std::string>& addresses() const { return server_->addresses(); }
  // Another coordinator has taken over the store: this one is of no use any more.
  bool deposed() const { return deposed_; }
  // Agents call whose job began elsewhere: the address belongs to who has its record (P11). Nobody
  // is served any more, so this should be destroyed.
  bool unwanted() const { return unwanted_; }
  // Nodes of a job, besides `own`, that are connected or were a moment ago.
  int other_nodes(const std::string& job, NodeId own);

 private:
  CarriedCoordinator() = default;
  void leave_marks(const CarriedOptions& options);
  int nodes_of(const std::string& job, NodeId besides);

  std::atomic<bool> deposed_{false};
  std::atomic<bool> unwanted_{false};
  std::string mark_folder_;
  std::vector<int> marked_ports_;
  std::unique_ptr<coordinator::Coordinator> coordinator_;
  std::unique_ptr<coordinator::Server> server_;
};

}  // namespace spillway
