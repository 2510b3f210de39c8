// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <csignal>
#include <functional>
#include <thread>

namespace spillway::internal {

// Turns SIGTERM into a call, on a thread of its own, since the loop may be waiting for others when
// it comes. One at a time in a process; a second one, and one that finds a handler of the program's
// own, watches nothing. Puts the handler back and joins its thread when destroyed.
class SignalWatch
{
 public:
  explicit SignalWatch(std::function<void()> on_sigterm);
  ~SignalWatch();
  SignalWatch(const SignalWatch&) = delete;
  SignalWatch& operator=(const SignalWatch&) = delete;

 private:
  void watch();
  std::function<void()> on_sigterm_;
  bool installed_ = false;
  int stop_event_ = -1;
  struct sigaction before_ = {};
  std::thread thread_;
};

}  // namespace spillway::internal
