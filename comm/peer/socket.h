// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "spillway/base/bytes.h"
#include "spillway/base/clock.h"
#include "spillway/comm/abort_word.h"

namespace spillway::comm {

// A descriptor that is closed when its owner goes.
class Fd
{
 public:
  Fd() = default;
  explicit Fd(int fd) : fd_(fd) {}
  Fd(Fd&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  Fd& operator=(Fd&& other) noexcept
  {
    if (this != &other) reset(std::exchange(other.fd_, -1));
    return *this;
  }
  ~Fd() { reset(); }
  int get() const { return fd_; }
  explicit operator bool() const { return fd_ >= 0; }
  void reset(int fd = -1);

 private:
  int fd_ = -1;
};

// An eventfd that is readable while somebody wants a sleeper to look around. Any thread signals.
class WakeEvent
{
 public:
  WakeEvent();
  int fd() const { return fd_.get(); }
  void signal() const;
  void drain() const;

 private:
  Fd fd_;
};

// What a blocking call of the peer channel obeys: its deadline, and the abort word for its number.
class CallBounds
{
 public:
  CallBounds(const Clock& clock, MonotonicTime deadline, AbortWord& abort, Number number);
  // OK while the call may go on; `doing` tells the message what was under way.
  absl::Status check(absl::string_view doing) const;
  // Sleeps until `fd` has one of the poll `events`, or the bounds end the call.
  absl::Status wait(int fd, short events, absl::string_view doing) const;

 private:
  const Clock& clock_;
  MonotonicTime deadline_;
  AbortWord& abort_;
  Number number_;
  WakeEvent wake_;
  AbortWord::Subscription subscription_;
};

// The milliseconds from now to the deadline for poll, rounded up, at most `cap_ms`.
int poll_timeout_ms(const Clock& clock, MonotonicTime deadline, int cap_ms = 60'000);

// Of either end of a connection: small messages leave at once, a host that vanishes is noticed.
void tune(int fd);

// All sockets here are non-blocking and close on exec.
absl::StatusOr<Fd> listen_on(const std::string& host, std::uint16_t port);
absl::StatusOr<std::uint16_t> local_port(int fd);
// Begins to connect to `host:port`; writable when done, or failed (socket_error tells).
absl::StatusOr<Fd> begin_connect(const std::string& address);
absl::Status socket_error(int fd, absl::string_view doing);
absl::StatusOr<Fd> connect_to(const std::string& address, const CallBounds& bounds);

absl::Status send_all(int fd, ByteSpan bytes, const CallBounds& bounds, absl::string_view doing);
absl::Status receive_all(int fd, MutableByteSpan bytes, const CallBounds& bounds,
                         absl::string_view doing);

// A frame is a u32 length, little-endian, and that many bytes; at most kFrameLimit.
inline constexpr std::size_t kFrameLimit = 64 * 1024;
std::string framed(absl::string_view payload);
absl::StatusOr<std::string> receive_frame(int fd, const CallBounds& bounds,
                                          absl::string_view doing);

}  // namespace spillway::comm
