// SPDX-License-Identifier: Apache-2.0
#include "host_addresses.h"

#include <arpa/inet.h>
#include <ifaddrs.h>
#include <netdb.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <functional>
#include <memory>

#include "absl/strings/str_cat.h"
#include "spillway/launcher/descriptor.h"

namespace spillway {
namespace {

constexpr int kConnectMs = 1000;

// Calls `use` with each address that the name stands for, until it says true.
bool any_address(const std::string& host, int port, int type,
                 const std::function<bool(const addrinfo&)>& use)
{
  addrinfo hints = {};
  hints.ai_socktype = type;
  addrinfo* found = nullptr;
  if (getaddrinfo(host.c_str(), absl::StrCat(port).c_str(), &hints, &found) != 0) return false;
  const std::unique_ptr<addrinfo, void (*)(addrinfo*)> owner(found, freeaddrinfo);
  for (const addrinfo* one = found; one != nullptr; one = one->ai_next)
    if (use(*one)) return true;
  return false;
}

std::string address_text(const sockaddr* address)
{
  char text[INET6_ADDRSTRLEN] = "";
  const void* bytes =
      address->sa_family == AF_INET
          ? static_cast<const void*>(&reinterpret_cast<const sockaddr_in*>(address)->sin_addr)
          : static_cast<const void*>(&reinterpret_cast<const sockaddr_in6*>(address)->sin6_addr);
  inet_ntop(address->sa_family, bytes, text, sizeof text);
  return text;
}

bool is_loopback(const sockaddr* address)
{
  const std::string text = address_text(address);
  return text == "::1" || text.rfind("127.", 0) == 0;
}

bool is_of_an_interface(const sockaddr* address)
{
  ifaddrs* found = nullptr;
  if (getifaddrs(&found) != 0) return false;
  const std::unique_ptr<ifaddrs, void (*)(ifaddrs*)> owner(found, freeifaddrs);
  for (const ifaddrs* one = found; one != nullptr; one = one->ifa_next)
  {
    if (one->ifa_addr == nullptr || one->ifa_addr->sa_family != address->sa_family) continue;
    if (address_text(one->ifa_addr) == address_text(address)) return true;
  }
  return false;
}

}  // namespace

std::string host_name()
{
  char name[256] = "";
  gethostname(name, sizeof name - 1);
  return name;
}

std::string endpoint_text(const std::string& host, int port)
{
  const bool v6 = host.find(':') != std::string::npos;
  return v6 ? absl::StrCat("[", host, "]:", port) : absl::StrCat(host, ":", port);
}

bool is_this_host(const std::string& host)
{
  return any_address(host, 0, SOCK_STREAM, [](const addrinfo& one) {
    return is_loopback(one.ai_addr) || is_of_an_interface(one.ai_addr);
  });
}

bool somebody_listens(const std::string& host, int port)
{
  return any_address(host, port, SOCK_STREAM, [](const addrinfo& one) {
    const Descriptor fd(socket(one.ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
    if (connect(fd.get(), one.ai_addr, one.ai_addrlen) == 0) return true;
    pollfd ready{fd.get(), POLLOUT, 0};
    if (errno != EINPROGRESS || poll(&ready, 1, kConnectMs) != 1) return false;
    int error = 0;
    socklen_t size = sizeof error;
    return getsockopt(fd.get(), SOL_SOCKET, SO_ERROR, &error, &size) == 0 && error == 0;
  });
}

bool somebody_listens_at(const std::string& path)
{
  sockaddr_un address = {};
  address.sun_family = AF_UNIX;
  if (path.size() >= sizeof address.sun_path) return false;
  memcpy(address.sun_path, path.c_str(), path.size());
  const Descriptor fd(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  // A listener whose queue is full is one all the same.
  return connect(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0 ||
         errno == EAGAIN;
}

std::string own_address_towards(const std::string& host, int port)
{
  std::string own = "127.0.0.1";
  any_address(host, port, SOCK_DGRAM, [&own](const addrinfo& one) {
    const Descriptor fd(socket(one.ai_family, SOCK_DGRAM | SOCK_CLOEXEC, 0));
    sockaddr_storage storage = {};
    socklen_t size = sizeof storage;
    auto* address = reinterpret_cast<sockaddr*>(&storage);
    if (connect(fd.get(), one.ai_addr, one.ai_addrlen) != 0) return false;
    if (getsockname(fd.get(), address, &size) != 0) return false;
    own = address_text(address);
    return true;
  });
  return own;
}

}  // namespace spillway
