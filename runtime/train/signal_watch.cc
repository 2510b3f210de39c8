// SPDX-License-Identifier: Apache-2.0
#include "signal_watch.h"

#include <poll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstdint>
#include <utility>

namespace spillway::internal {
namespace {

// Written by the handler; open from the first watch to the end of the process, so that a late
// signal never writes into somebody else's file.
std::atomic<int> signal_event{-1};
std::atomic<bool> watched{false};

void on_signal(int)
{
  const int saved = errno;
  const std::uint64_t one = 1;
  [[maybe_unused]] const auto written = ::write(signal_event.load(), &one, sizeof one);
  errno = saved;
}

}  // namespace

SignalWatch::SignalWatch(std::function<void()> on_sigterm) : on_sigterm_(std::move(on_sigterm))
{
  if (watched.exchange(true)) return;
  installed_ = true;
  if (signal_event.load() < 0) signal_event.store(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  stop_event_ = ::eventfd(0, EFD_CLOEXEC);
  ::sigaction(SIGTERM, nullptr, &before_);
  const bool free = (before_.sa_flags & SA_SIGINFO) == 0 && before_.sa_handler == SIG_DFL;
  if (!free || stop_event_ < 0 || signal_event.load() < 0) return;
  struct sigaction action = {};
  action.sa_handler = on_signal;
  action.sa_flags = SA_RESTART;
  ::sigaction(SIGTERM, &action, nullptr);
  thread_ = std::thread([this] { watch(); });
}

SignalWatch::~SignalWatch()
{
  if (!installed_) return;
  if (thread_.joinable())
  {
    ::sigaction(SIGTERM, &before_, nullptr);
    const std::uint64_t one = 1;
    [[maybe_unused]] const auto written = ::write(stop_event_, &one, sizeof one);
    thread_.join();
  }
  if (stop_event_ >= 0) ::close(stop_event_);
  watched.store(false);
}

void SignalWatch::watch()
{
  pollfd events[2] = {{signal_event.load(), POLLIN, 0}, {stop_event_, POLLIN, 0}};
  while (true)
  {
    if (::poll(events, 2, -1) < 0 && errno != EINTR) return;
    if (events[1].revents != 0) return;
    if ((events[0].revents & POLLIN) == 0) continue;
    std::uint64_t count = 0;
    [[maybe_unused]] const auto got = ::read(events[0].fd, &count, sizeof count);
    on_sigterm_();
  }
}

}  // namespace spillway::internal
