// SPDX-License-Identifier: Apache-2.0
#include "rpc/door.h"

#include <netdb.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "absl/strings/str_cat.h"
#include "rpc/channel.h"
#include "spillway/base/check.h"

namespace spillway::coordinator {
namespace {

constexpr std::chrono::milliseconds kGrace{100};
constexpr std::chrono::seconds kEndBound{10};

// gRPC does not say why it could not bind.
std::string why_not_bound(const Address& address)
{
  if (address.is_unix())
  {
    struct stat found = {};
    if (address.path.size() >= sizeof(sockaddr_un::sun_path))
      return absl::StrCat("a socket's path has less than ", sizeof(sockaddr_un::sun_path),
                          " characters");
    if (stat(address.path.c_str(), &found) == 0 && !S_ISSOCK(found.st_mode))
      return "there is something that is no socket, and it is left alone; name another path";
    return "the folder is missing or may not be written";
  }
  addrinfo hints = {};
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_flags = AI_PASSIVE;
  addrinfo* found = nullptr;
  const int error =
      getaddrinfo(address.host.c_str(), absl::StrCat(address.port).c_str(), &hints, &found);
  if (error != 0) return gai_strerror(error);
  std::string why = "it could be bound a moment later; try again";
  const int fd = socket(found->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
  const int one = 1;
  setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
  if (bind(fd, found->ai_addr, found->ai_addrlen) != 0 || listen(fd, 1) != 0) why = strerror(errno);
  close(fd);
  freeaddrinfo(found);
  return why;
}

}  // namespace

absl::StatusOr<std::unique_ptr<Door>> Door::open(const std::vector<Address>& addresses,
                                                 grpc::Service& service, int threads)
{
  quiet_grpc();
  std::unique_ptr<Door> door(new Door);
  std::vector<int> ports(addresses.size());
  grpc::ServerBuilder builder;
  set_server_limits(builder);
  builder.SetSyncServerOption(grpc::ServerBuilder::SyncServerOption::MAX_POLLERS, 2);
  for (std::size_t i = 0; i < addresses.size(); ++i)
    builder.AddListeningPort(addresses[i].target(), grpc::InsecureServerCredentials(), &ports[i]);
  builder.RegisterService(&service);
  door->queue_ = builder.AddCompletionQueue();
  door->server_ = builder.BuildAndStart();
  for (std::size_t i = 0; i < addresses.size(); ++i)
  {
    if (door->server_ == nullptr || ports[i] == 0)
    {
      // The first that was not bound is the one to name.
      if (ports[i] != 0) continue;
      return absl::UnavailableError(absl::StrCat("cannot listen on ", addresses[i].target(), ": ",
                                                 why_not_bound(addresses[i])));
    }
    Address bound = addresses[i];
    if (!bound.is_unix()) bound.port = ports[i];
    door->addresses_.push_back(bound.target());
  }
  if (door->server_ == nullptr) return absl::UnavailableError("gRPC could not start a server");
  for (int i = 0; i < threads; ++i)
    door->threads_.emplace_back([queue = door->queue_.get()] { complete_operations(*queue); });
  return door;
}

std::shared_ptr<void> Door::alive_token()
{
  const std::lock_guard lock(mutex_);
  ++alive_;
  return {static_cast<void*>(this), [this](void*) {
            const std::lock_guard deleting(mutex_);
            --alive_;
            all_over_.notify_all();
          }};
}

Door::~Door()
{
  if (server_ != nullptr) server_->Shutdown(grpc_deadline(kGrace));
  {
    std::unique_lock lock(mutex_);
    const bool over = all_over_.wait_for(lock, kEndBound, [this] { return alive_ == 0; });
    SPILLWAY_CHECK(over, alive_, " streams of ", addresses_.empty() ? "" : addresses_[0],
                   " did not end after the server's shutdown");
  }
  if (queue_ != nullptr) queue_->Shutdown();
  for (std::thread& thread : threads_) thread.join();
  if (queue_ != nullptr && threads_.empty()) complete_operations(*queue_);
}

}  // namespace spillway::coordinator
