// SPDX-License-Identifier: Apache-2.0
#include "socket.h"

#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <memory>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "spillway/base/check.h"
#include "spillway/base/status.h"

namespace spillway::comm {
namespace {

absl::Status errno_status(absl::string_view doing)
{
  const int error = errno;
  const std::string text = absl::StrCat(doing, ": ", std::strerror(error));
  if (error == EMFILE || error == ENFILE || error == ENOBUFS || error == ENOMEM)
    return absl::ResourceExhaustedError(text);
  return absl::UnavailableError(text);
}

using AddressList = std::unique_ptr<addrinfo, decltype(&freeaddrinfo)>;

absl::StatusOr<AddressList> resolve(const std::string& host, const std::string& port, bool passive)
{
  addrinfo hints{};
  hints.ai_family = AF_UNSPEC;
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_flags = AI_NUMERICSERV | (passive ? AI_PASSIVE : 0);
  addrinfo* found = nullptr;
  const int error = getaddrinfo(host.c_str(), port.c_str(), &hints, &found);
  if (error != 0)
    return absl::UnavailableError(
        absl::StrCat("cannot resolve ", host, ":", port, ": ", gai_strerror(error)));
  return AddressList(found, &freeaddrinfo);
}

}  // namespace

void tune(int fd)
{
  // Small messages leave at once; a host that vanishes is noticed within seconds.
  const int on = 1, idle_s = 3, interval_s = 1, probes = 3;
  setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
  setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof(on));
  setsockopt(fd, IPPROTO_TCP, TCP_KEEPIDLE, &idle_s, sizeof(idle_s));
  setsockopt(fd, IPPROTO_TCP, TCP_KEEPINTVL, &interval_s, sizeof(interval_s));
  setsockopt(fd, IPPROTO_TCP, TCP_KEEPCNT, &probes, sizeof(probes));
}

void Fd::reset(int fd)
{
  if (fd_ >= 0) close(fd_);
  fd_ = fd;
}

WakeEvent::WakeEvent() : fd_(eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC))
{
  SPILLWAY_CHECK(fd_, "eventfd: ", std::strerror(errno), "; raise the limit of open files");
}

void WakeEvent::signal() const
{
  const std::uint64_t one = 1;
  [[maybe_unused]] const auto written = write(fd_.get(), &one, sizeof(one));
}

void WakeEvent::drain() const
{
  std::uint64_t count = 0;
  [[maybe_unused]] const auto got = read(fd_.get(), &count, sizeof(count));
}

int poll_timeout_ms(const Clock& clock, MonotonicTime deadline, int cap_ms)
{
  const MonotonicTime now = clock.now();
  if (deadline <= now) return 0;
  const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(deadline - now).count();
  return static_cast<int>(std::min<std::int64_t>(left, cap_ms - 1)) + 1;
}

CallBounds::CallBounds(const Clock& clock, MonotonicTime deadline, AbortWord& abort, Number number)
    : clock_(clock),
      deadline_(deadline),
      abort_(abort),
      number_(number),
      subscription_(abort, [this] { wake_.signal(); })
{
}

absl::Status CallBounds::check(absl::string_view doing) const
{
  if (abort_.covers(number_))
    return absl::AbortedError(
        absl::StrCat(doing, ": number ", number_.value(), " was ended by an abort"));
  if (clock_.now() >= deadline_)
    return absl::DeadlineExceededError(absl::StrCat(doing, ": no answer in time"));
  return absl::OkStatus();
}

absl::Status CallBounds::wait(int fd, short events, absl::string_view doing) const
{
  while (true)
  {
    SPILLWAY_RETURN_IF_ERROR(check(doing));
    pollfd fds[2] = {{.fd = fd, .events = events, .revents = 0},
                     {.fd = wake_.fd(), .events = POLLIN, .revents = 0}};
    const int ready = poll(fds, 2, poll_timeout_ms(clock_, deadline_));
    if (ready < 0 && errno != EINTR) return errno_status(doing);
    if (fds[1].revents != 0) wake_.drain();
    if (ready > 0 && fds[0].revents != 0) return absl::OkStatus();
  }
}

absl::StatusOr<Fd> listen_on(const std::string& host, std::uint16_t port)
{
  SPILLWAY_ASSIGN_OR_RETURN(const AddressList list, resolve(host, std::to_string(port), true));
  const std::string doing = absl::StrCat("listen on ", host, ":", port);
  Fd fd(socket(list->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  if (!fd) return errno_status(doing);
  const int on = 1;
  setsockopt(fd.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
  if (bind(fd.get(), list->ai_addr, list->ai_addrlen) != 0) return errno_status(doing);
  if (listen(fd.get(), 256) != 0) return errno_status(doing);
  return fd;
}

absl::StatusOr<std::uint16_t> local_port(int fd)
{
  sockaddr_storage storage{};
  socklen_t size = sizeof(storage);
  if (getsockname(fd, reinterpret_cast<sockaddr*>(&storage), &size) != 0)
    return errno_status("getsockname");
  if (storage.ss_family == AF_INET6)
    return ntohs(reinterpret_cast<const sockaddr_in6&>(storage).sin6_port);
  return ntohs(reinterpret_cast<const sockaddr_in&>(storage).sin_port);
}

absl::StatusOr<Fd> begin_connect(const std::string& address)
{
  const std::size_t colon = address.rfind(':');
  std::uint32_t port = 0;
  if (colon == std::string::npos || !absl::SimpleAtoi(address.substr(colon + 1), &port) ||
      port == 0 || port > 65535)
    return absl::InvalidArgumentError(
        absl::StrCat("peer address '", address, "' is not host:port"));
  SPILLWAY_ASSIGN_OR_RETURN(const AddressList list,
                            resolve(address.substr(0, colon), std::to_string(port), false));
  const std::string doing = absl::StrCat("connect to ", address);
  Fd fd(socket(list->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  if (!fd) return errno_status(doing);
  tune(fd.get());
  if (connect(fd.get(), list->ai_addr, list->ai_addrlen) != 0 && errno != EINPROGRESS)
    return errno_status(doing);
  return fd;
}

absl::Status socket_error(int fd, absl::string_view doing)
{
  int error = 0;
  socklen_t size = sizeof(error);
  getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &size);
  if (error == 0) return absl::OkStatus();
  errno = error;
  return errno_status(doing);
}

absl::StatusOr<Fd> connect_to(const std::string& address, const CallBounds& bounds)
{
  SPILLWAY_ASSIGN_OR_RETURN(Fd fd, begin_connect(address));
  const std::string doing = absl::StrCat("connect to ", address);
  SPILLWAY_RETURN_IF_ERROR(bounds.wait(fd.get(), POLLOUT, doing));
  SPILLWAY_RETURN_IF_ERROR(socket_error(fd.get(), doing));
  return fd;
}

absl::Status send_all(int fd, ByteSpan bytes, const CallBounds& bounds, absl::string_view doing)
{
  while (!bytes.empty())
  {
    const ssize_t sent = send(fd, bytes.data(), bytes.size(), MSG_NOSIGNAL);
    if (sent >= 0)
    {
      bytes.remove_prefix(static_cast<std::size_t>(sent));
      SPILLWAY_RETURN_IF_ERROR(bounds.check(doing));
      continue;
    }
    if (errno == EINTR) continue;
    if (errno != EAGAIN) return errno_status(doing);
    SPILLWAY_RETURN_IF_ERROR(bounds.wait(fd, POLLOUT, doing));
  }
  return absl::OkStatus();
}

absl::Status receive_all(int fd, MutableByteSpan bytes, const CallBounds& bounds,
                         absl::string_view doing)
{
  while (!bytes.empty())
  {
    const ssize_t got = recv(fd, bytes.data(), bytes.size(), 0);
    if (got > 0)
    {
      bytes.remove_prefix(static_cast<std::size_t>(got));
      SPILLWAY_RETURN_IF_ERROR(bounds.check(doing));
      continue;
    }
    if (got == 0) return absl::UnavailableError(absl::StrCat(doing, ": the peer hung up"));
    if (errno == EINTR) continue;
    if (errno != EAGAIN) return errno_status(doing);
    SPILLWAY_RETURN_IF_ERROR(bounds.wait(fd, POLLIN, doing));
  }
  return absl::OkStatus();
}

std::string framed(absl::string_view payload)
{
  SPILLWAY_CHECK(payload.size() <= kFrameLimit, "frame of ", payload.size(), " bytes");
  ByteWriter writer;
  writer.text(payload);
  return writer.take();
}

absl::StatusOr<std::string> receive_frame(int fd, const CallBounds& bounds, absl::string_view doing)
{
  std::uint32_t size = 0;
  SPILLWAY_RETURN_IF_ERROR(
      receive_all(fd, {reinterpret_cast<std::byte*>(&size), sizeof(size)}, bounds, doing));
  if (size > kFrameLimit)
    return absl::DataLossError(absl::StrCat(doing, ": the peer announced a frame of ", size,
                                            " bytes, at most ", kFrameLimit, " are allowed"));
  std::string payload(size, '\0');
  SPILLWAY_RETURN_IF_ERROR(receive_all(
      fd, {reinterpret_cast<std::byte*>(payload.data()), payload.size()}, bounds, doing));
  return payload;
}

}  // namespace spillway::comm
