// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <atomic>
#include <condition_variable>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

#include "spillway/base/clock.h"
#include "spillway/comm/transport.h"

namespace spillway::engine {

// Reads the base from several donors into staging memory, range by range, while the user thread
// installs what has arrived (P7). A range that a donor does not give is asked of the next one;
// nothing is given up before the timeout. Any thread; nothing but the destructor blocks.
class Copier
{
 public:
  struct Config
  {
    comm::Transport* transport = nullptr;
    const Clock* clock = nullptr;
    std::uint64_t state_bytes = 0;
    std::uint64_t range_bytes = 0;
    Duration timeout{};
    // From the copier's threads, without locks.
    std::function<void(StateName, std::size_t range)> on_arrived;
    std::function<void(Number, WorkerId donor, const absl::Status&)> on_failed;
  };
  struct Job
  {
    Lineage lineage;
    Number number;
    StateName base;
    std::vector<comm::Member> donors;
    std::vector<bool> have;
  };

  explicit Copier(Config config);
  ~Copier();

  // Replaces what is under way. Ranges of the same base that are in staging memory stay.
  void start(Job job);
  void stop();
  // Whether that range is in staging memory.
  bool holds(StateName base, std::size_t range);
  // Its bytes. They count against the bound until release().
  std::vector<std::byte> take(std::size_t range);
  void release(std::vector<std::byte> bytes);
  std::uint64_t range_bytes() const { return config_.range_bytes; }
  std::uint64_t bytes_read() const { return bytes_read_.load(std::memory_order_relaxed); }

 private:
  struct Run
  {
    Job job;
    comm::AbortWord abort;
    MonotonicTime give_up;
    bool failed = false;
    std::vector<char> taken;  // read, or being read
    std::size_t attempts = 0;
  };
  void work();
  void drop_staged();
  bool claim(std::shared_ptr<Run>& run, std::size_t& range, comm::Member& donor);
  absl::Status read(Run& run, std::size_t range, const comm::Member& donor,
                    std::vector<std::byte>& bytes);

  const Config config_;
  std::atomic<std::uint64_t> bytes_read_{0};
  std::mutex mutex_;
  std::condition_variable changed_;
  bool ending_ = false;
  std::shared_ptr<Run> run_;
  StateName staged_base_;
  std::map<std::size_t, std::vector<std::byte>> staged_;
  std::vector<std::size_t> again_;  // staged, to be reported once more: the last one asked for them
  std::size_t outstanding_ = 0;
  std::vector<std::vector<std::byte>> spare_;  // staging memory that was touched before
  std::vector<std::thread> threads_;
};

}  // namespace spillway::engine
