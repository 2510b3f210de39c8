// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <condition_variable>
#include <deque>
#include <mutex>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "socket.h"
#include "spillway/comm/transport.h"
#include "wire.h"

namespace spillway::comm {

// Answers what needs more than the channel's thread may do: state reads, and probes, which connect
// back. Owns a fixed number of threads; each serves one connection at a time, others wait in a
// bounded queue and are refused beyond it.
class StateServer
{
 public:
  static constexpr std::size_t kThreads = 2;
  static constexpr std::size_t kQueueLimit = 64;

  StateServer(const Clock& clock, StateHandler handler);
  ~StateServer();

  // Any thread; never blocks.
  void take(Fd connection, Hello hello);
  // Ends what is under way and refuses the rest; the destructor does the same first.
  void stop();

 private:
  struct Work
  {
    Fd fd;
    Hello hello;
  };
  void run();
  void serve(const Work& work);
  absl::Status serve_range(const Work& work, const RangeQuery& query, const CallBounds& bounds);
  void answer_probe(const Work& work);

  const Clock& clock_;
  const StateHandler handler_;
  AbortWord stopped_;  // raised to 1 at the end; every wait here carries number 1
  std::mutex mutex_;
  std::condition_variable arrival_;
  bool stopping_ = false;
  std::deque<Work> queue_;
  std::vector<std::thread> threads_;
};

// The asking sides. Both block within `bounds`.
absl::Status read_state_range(const Clock& clock, const RangeRequest& request,
                              MutableByteSpan destination, const CallOptions& options,
                              AbortWord& abort);
// `own_address` is where the peer is to connect back to.
absl::Status probe_peer(const Clock& clock, const Member& peer, const std::string& own_address,
                        Lineage lineage, const CallOptions& options);

}  // namespace spillway::comm
