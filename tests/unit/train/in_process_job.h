// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <atomic>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "log_check.h"
#include "spillway/coordinator/in_process_link.h"
#include "spillway/coordinator/job_runner.h"
#include "spillway/train/run.h"

namespace spillway::testing {

// A coordinator and a node of this process. Each runtime() is a worker over the real engine and the
// loopback transport, for a thread of the test's.
class InProcessJob
{
 public:
  explicit InProcessJob(std::uint32_t workers);
  ~InProcessJob();

  // The worker's number, from 1, is its pid to the coordinator.
  Runtime runtime(std::int64_t worker);
  // Runs a worker's program on a thread of its own. What it throws is in `error` then, and the node
  // hears of its end, as from an agent.
  std::thread start(std::int64_t worker, std::string& error, std::function<void()> program);
  std::string event_log_directory() const { return folder_.string(); }
  // Judges the event logs of all workers.
  invariants::LogReport check_log() const;

 private:
  std::filesystem::path folder_;
  std::unique_ptr<coordinator::Store> store_;
  std::unique_ptr<coordinator::JobRunner> runner_;
  std::unique_ptr<coordinator::InProcessNode> node_;
};

}  // namespace spillway::testing
