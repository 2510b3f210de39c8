// SPDX-License-Identifier: Apache-2.0
#include "channel.h"

#include <sys/epoll.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "absl/strings/str_cat.h"
#include "spillway/base/check.h"
#include "spillway/base/log.h"
#include "spillway/base/status.h"

namespace spillway::comm {
namespace {

constexpr std::uint64_t kListenerId = 0;
constexpr std::uint64_t kStopId = 1;
constexpr std::size_t kConnectionLimit = 1024;
constexpr Duration kHelloPatience = std::chrono::seconds(10);

absl::StatusOr<std::string> take_frame(std::string& in, bool& complete)
{
  complete = false;
  std::uint32_t size = 0;
  if (in.size() < sizeof(size)) return std::string();
  std::memcpy(&size, in.data(), sizeof(size));
  if (size > kFrameLimit) return absl::DataLossError("a frame above the limit");
  if (in.size() < sizeof(size) + size) return std::string();
  std::string payload = in.substr(sizeof(size), size);
  in.erase(0, sizeof(size) + size);
  complete = true;
  return payload;
}

}  // namespace

absl::StatusOr<std::unique_ptr<PeerChannel>> PeerChannel::start(const TransportOptions& options,
                                                                ServiceHandler service)
{
  SPILLWAY_ASSIGN_OR_RETURN(Fd listener, listen_on(options.host, options.port));
  SPILLWAY_ASSIGN_OR_RETURN(const std::uint16_t port, local_port(listener.get()));
  std::unique_ptr<PeerChannel> channel(new PeerChannel(
      options, std::move(service), std::move(listener), absl::StrCat(options.host, ":", port)));
  return channel;
}

PeerChannel::PeerChannel(const TransportOptions& options, ServiceHandler service, Fd listener,
                         std::string address)
    : clock_(*options.clock),
      events_(options.events),
      service_(std::move(service)),
      address_(std::move(address)),
      listener_(std::move(listener)),
      epoll_(epoll_create1(EPOLL_CLOEXEC))
{
  SPILLWAY_CHECK(epoll_, "epoll_create1: ", std::strerror(errno));
  epoll_event event{.events = EPOLLIN, .data = {.u64 = kListenerId}};
  SPILLWAY_CHECK(epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, listener_.get(), &event) == 0);
  event.data.u64 = kStopId;
  SPILLWAY_CHECK(epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, stop_event_.fd(), &event) == 0);
  thread_ = std::thread([this] { run(); });
}

PeerChannel::~PeerChannel()
{
  {
    const std::lock_guard lock(mutex_);
    SPILLWAY_CHECK(numbers_.empty(), "groups outlive their transport");
    stopping_ = true;
  }
  stop_event_.signal();
  thread_.join();
}

void PeerChannel::run()
{
  epoll_event events[64];
  while (true)
  {
    const int count = epoll_wait(epoll_.get(), events, 64, 1000);
    std::vector<std::function<void()>> notices;
    {
      const std::lock_guard lock(mutex_);
      if (stopping_) return;
      for (int i = 0; i < count; ++i)
      {
        const std::uint64_t id = events[i].data.u64;
        if (id == kListenerId) accept_all();
        if (const auto at = connections_.find(id); at != connections_.end()) handle(at);
      }
      drop_half_open();
      notices.swap(notices_);
    }
    for (const auto& notice : notices) notice();
  }
}

void PeerChannel::accept_all()
{
  while (true)
  {
    Fd fd(accept4(listener_.get(), nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC));
    if (!fd) return;  // all taken, or out of descriptors: the peer's deadline deals with it
    if (connections_.size() >= kConnectionLimit) continue;
    tune(fd.get());
    watch(Connection{.fd = std::move(fd), .since = clock_.now()}, EPOLLIN);
  }
}

void PeerChannel::watch(Connection connection, std::uint32_t events)
{
  const std::uint64_t id = next_id_++;
  epoll_event event{.events = events, .data = {.u64 = id}};
  SPILLWAY_CHECK(epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, connection.fd.get(), &event) == 0,
                 "epoll_ctl: ", std::strerror(errno));
  connections_.emplace(id, std::move(connection));
}

void PeerChannel::handle(ConnectionMap::iterator at)
{
  Connection& connection = at->second;
  if (connection.role == Role::kConnecting) return finish_connect(at);
  const bool ended = read_available(connection);
  if (connection.role == Role::kLink) return take_link_bytes(at, ended);
  bool complete = false;
  absl::StatusOr<std::string> payload = std::string();
  if (connection.role != Role::kParked) payload = take_frame(connection.in, complete);
  if (payload.ok() && complete && connection.role == Role::kAwaitReply)
    return take_reply(at, *payload);
  if (payload.ok() && complete)
  {
    absl::StatusOr<Hello> hello = decode_hello(as_bytes(*payload));
    if (!hello.ok()) return refuse(at, hello.status());
    return greet(at, *std::move(hello));
  }
  if (!payload.ok() || ended)
  {
    if (connection.role == Role::kAwaitReply)
      fail_pair(connection, absl::UnavailableError("it hung up during the handshake"));
    connections_.erase(at);
  }
}

void PeerChannel::finish_connect(ConnectionMap::iterator at)
{
  Connection& connection = at->second;
  const LinkSet& links = *connection.links;
  const Member& member = links.pairs_[connection.rank].member;
  absl::Status status = socket_error(connection.fd.get(), "connect");
  if (status.ok())
  {
    const Hello hello{.kind = HelloKind::kLink,
                      .lineage = links.lineage_,
                      .number = links.number_,
                      .from = links.pairs_[links.rank_.value()].member.worker,
                      .to = member.worker,
                      .blob = links.blob_};
    if (!send_now(connection, framed(encode(hello))))
      status = absl::UnavailableError("it hung up before the handshake");
  }
  if (!status.ok())
  {
    fail_pair(connection, status);
    connections_.erase(at);
    return;
  }
  connection.role = Role::kAwaitReply;
  epoll_event event{.events = EPOLLIN, .data = {.u64 = at->first}};
  epoll_ctl(epoll_.get(), EPOLL_CTL_MOD, connection.fd.get(), &event);
}

// True at the end of the stream, orderly or not.
bool PeerChannel::read_available(Connection& connection)
{
  char buffer[4096];
  while (connection.in.size() <= 2 * kFrameLimit)
  {
    const ssize_t got = recv(connection.fd.get(), buffer, sizeof(buffer), 0);
    if (got > 0)
    {
      connection.in.append(buffer, static_cast<std::size_t>(got));
      continue;
    }
    if (got < 0 && errno == EINTR) continue;
    return got == 0 || errno != EAGAIN;
  }
  return true;  // nobody has reason to send that much
}

void PeerChannel::greet(ConnectionMap::iterator at, Hello hello)
{
  Connection& connection = at->second;
  if (lineage_ && hello.lineage != lineage_)
    return refuse(at, absl::FailedPreconditionError(absl::StrCat(
                          "worker ", hello.from.value(), " is of lineage ", hello.lineage.value(),
                          ", this process of ", lineage_.value(), ": it belongs to another run")));
  switch (hello.kind)
  {
    case HelloKind::kLink:
      if (const auto open = numbers_.find(hello.number); open != numbers_.end())
        return admit(at, hello);
      if (hello.number <= fence_)
        return refuse(at, absl::AbortedError(absl::StrCat("number ", hello.number.value(),
                                                          " is over in this process")));
      connection.role = Role::kParked;
      connection.hello = std::move(hello);
      return;
    case HelloKind::kEcho:
      return refuse(at, absl::OkStatus());
    case HelloKind::kState:
    case HelloKind::kProbe:
      epoll_ctl(epoll_.get(), EPOLL_CTL_DEL, connection.fd.get(), nullptr);
      notices_.push_back([this, fd = std::make_shared<Fd>(std::move(connection.fd)),
                          hello = std::move(hello)]() { service_(std::move(*fd), hello); });
      connections_.erase(at);
      return;
  }
}

void PeerChannel::admit(ConnectionMap::iterator at, const Hello& hello)
{
  LinkSet& links = *numbers_.find(hello.number)->second;
  Connection& connection = at->second;
  const auto self = links.pairs_[links.rank_.value()].member.worker;
  const auto pair = std::find_if(links.pairs_.begin(), links.pairs_.end(),
                                 [&](const Pair& one) { return one.member.worker == hello.from; });
  if (hello.to != self)
    return refuse(at, absl::FailedPreconditionError(
                          absl::StrCat("worker ", hello.to.value(), " was called, but worker ",
                                       self.value(), " lives at ", address_)));
  if (pair == links.pairs_.end() || pair->state != PairState::kConnecting)
    return refuse(at, absl::FailedPreconditionError(
                          absl::StrCat("worker ", hello.from.value(), " is no member of number ",
                                       hello.number.value(), " here, or is linked already")));
  connection.role = Role::kLink;
  connection.links = &links;
  connection.rank = static_cast<std::uint32_t>(pair - links.pairs_.begin());
  if (!send_now(connection, framed(encode(Reply{.status = {}, .blob = links.blob_}))))
  {
    connections_.erase(at);  // the peer tries again or gives up; the pair stays open until then
    return;
  }
  pair->state = PairState::kLinked;
  pair->blob = hello.blob;
  changed(links);
}

void PeerChannel::refuse(ConnectionMap::iterator at, const absl::Status& why)
{
  send_now(at->second, framed(encode(Reply{.status = why, .blob = {}})));
  connections_.erase(at);
}

void PeerChannel::take_reply(ConnectionMap::iterator at, const std::string& payload)
{
  Connection& connection = at->second;
  Pair& pair = connection.links->pairs_[connection.rank];
  absl::StatusOr<Reply> reply = decode_reply(as_bytes(payload));
  const absl::Status status = reply.ok() ? reply->status : reply.status();
  if (!status.ok())
  {
    fail_pair(connection, status);
    connections_.erase(at);
    return;
  }
  pair.state = PairState::kLinked;
  pair.blob = std::move(reply->blob);
  connection.role = Role::kLink;
  changed(*connection.links);
  take_link_bytes(at, false);
}

void PeerChannel::take_link_bytes(ConnectionMap::iterator at, bool ended)
{
  Connection& connection = at->second;
  LinkSet& links = *connection.links;
  Pair& pair = links.pairs_[connection.rank];
  for (const char byte : connection.in)
  {
    if (byte == kReady) pair.ready = true;
    if (byte == kGoodbye) connection.goodbye = true;
  }
  connection.in.clear();
  if (!ended && !connection.goodbye) return changed(links);
  const bool orderly = connection.goodbye;
  pair.state = orderly ? PairState::kClosed : PairState::kLost;
  if (!orderly)
  {
    links.lost_worker_.store(pair.member.worker.value(), std::memory_order_release);
    links.lost_.store(true, std::memory_order_release);
  }
  const auto& event = orderly ? events_.on_peer_closed : events_.on_peer_lost;
  if (links.established_ && event)
    notices_.push_back(
        [&event, number = links.number_, worker = pair.member.worker] { event(number, worker); });
  connections_.erase(at);
  changed(links);
}

void PeerChannel::fail_pair(Connection& connection, const absl::Status& why)
{
  Pair& pair = connection.links->pairs_[connection.rank];
  pair.state = PairState::kFailed;
  pair.failure = annotate(
      why, absl::StrCat("worker ", pair.member.worker.value(), " at ", pair.member.address));
  changed(*connection.links);
}

void PeerChannel::changed(LinkSet& links)
{
  if (links.wake_) links.wake_();
  change_.notify_all();
}

void PeerChannel::drop_half_open()
{
  const MonotonicTime now = clock_.now();
  std::erase_if(connections_, [&](const auto& entry) {
    return entry.second.role == Role::kAwaitHello && now - entry.second.since > kHelloPatience;
  });
}

bool PeerChannel::send_now(const Connection& connection, absl::string_view bytes)
{
  // Handshakes are far smaller than a fresh socket's buffer, so a short write means a dead peer.
  const ssize_t sent =
      send(connection.fd.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
  return sent == static_cast<ssize_t>(bytes.size());
}

void PeerChannel::break_links_for_test()
{
  const std::lock_guard lock(mutex_);
  epoll_ctl(epoll_.get(), EPOLL_CTL_DEL, listener_.get(), nullptr);
  listener_.reset();
  connections_.clear();
}

}  // namespace spillway::comm
