// SPDX-License-Identifier: Apache-2.0
#include <sys/epoll.h>
#include <sys/socket.h>

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "channel.h"
#include "spillway/base/check.h"
#include "spillway/base/status.h"

namespace spillway::comm {

absl::StatusOr<std::unique_ptr<LinkSet>> PeerChannel::open(const GroupSpec& spec, std::string blob)
{
  // Sockets are made before the mutex is taken: resolving a name may take its time.
  std::vector<absl::StatusOr<Fd>> sockets;
  for (std::uint32_t rank = 0; rank < spec.rank.value(); ++rank)
    sockets.push_back(begin_connect(spec.members[rank].address));

  const std::lock_guard lock(mutex_);
  if (lineage_ && spec.lineage != lineage_)
    return absl::FailedPreconditionError(absl::StrCat("number ", spec.number.value(),
                                                      " is of lineage ", spec.lineage.value(),
                                                      ", this process of ", lineage_.value()));
  if (spec.number <= fence_ || numbers_.contains(spec.number))
    return absl::FailedPreconditionError(
        absl::StrCat("number ", spec.number.value(), " is over or open already in this process"));
  lineage_ = spec.lineage;
  std::unique_ptr<LinkSet> links(new LinkSet(*this, spec, std::move(blob)));
  numbers_.emplace(spec.number, links.get());
  for (std::uint32_t rank = 0; rank < spec.rank.value(); ++rank)
  {
    Connection connection{
        .role = Role::kConnecting, .links = links.get(), .rank = rank, .since = clock_.now()};
    if (!sockets[rank].ok())
    {
      fail_pair(connection, sockets[rank].status());
      continue;
    }
    connection.fd = *std::move(sockets[rank]);
    watch(std::move(connection), EPOLLOUT);
  }
  std::vector<std::uint64_t> parked;
  for (const auto& [id, connection] : connections_)
    if (connection.role == Role::kParked && connection.hello.number == spec.number)
      parked.push_back(id);
  for (const std::uint64_t id : parked)
  {
    const auto at = connections_.find(id);
    const Hello hello = at->second.hello;
    at->second.role = Role::kAwaitHello;
    greet(at, hello);
  }
  return links;
}

void PeerChannel::close_links(LinkSet& links)
{
  const std::lock_guard lock(mutex_);
  numbers_.erase(links.number_);
  for (auto at = connections_.begin(); at != connections_.end();)
  {
    Connection& connection = at->second;
    const bool mine = connection.links == &links;
    if (mine && connection.role == Role::kLink)
    {
      const char goodbye = kGoodbye;
      send_now(connection, {&goodbye, 1});
      // Unread bytes would turn the close into a reset.
      read_available(connection);
    }
    at = mine ? connections_.erase(at) : std::next(at);
  }
  if (!links.established_) return;
  fence_ = std::max(fence_, links.number_);
  for (auto at = connections_.begin(); at != connections_.end();)
  {
    const auto here = at++;
    if (here->second.role == Role::kParked && here->second.hello.number <= fence_)
      refuse(here, absl::AbortedError("that number is over in this process"));
  }
}

LinkSet::LinkSet(PeerChannel& channel, const GroupSpec& spec, std::string blob)
    : channel_(channel),
      lineage_(spec.lineage),
      number_(spec.number),
      rank_(spec.rank),
      blob_(std::move(blob))
{
  for (const Member& member : spec.members) pairs_.push_back(Pair{.member = member});
  Pair& self = pairs_[rank_.value()];
  self.state = PairState::kLinked;
  self.ready = true;
  self.blob = blob_;
}

LinkSet::~LinkSet()
{
  channel_.close_links(*this);
}

std::vector<Pair> LinkSet::pairs() const
{
  const std::lock_guard lock(channel_.mutex_);
  return pairs_;
}

bool LinkSet::any_in(PairState state) const
{
  return std::any_of(pairs_.begin(), pairs_.end(),
                     [&](const Pair& pair) { return pair.state == state; });
}

absl::Status LinkSet::await_linked(MonotonicTime deadline, AbortWord& abort, Duration grace)
{
  const Clock& clock = channel_.clock_;
  const AbortWord::Subscription subscription(abort, [this] {
    const std::lock_guard lock(channel_.mutex_);
    channel_.change_.notify_all();
  });
  std::unique_lock lock(channel_.mutex_);
  bool failed = false;
  while (any_in(PairState::kConnecting))
  {
    if (abort.covers(number_))
      return absl::AbortedError(absl::StrCat("number ", number_.value(),
                                             " was ended by an abort while it was connected"));
    const MonotonicTime now = clock.now();
    if (!failed && (any_in(PairState::kFailed) || any_in(PairState::kLost)))
    {
      failed = true;
      deadline = std::min(deadline, deadline_after(now, grace));
    }
    if (now >= deadline)
      return absl::DeadlineExceededError(
          absl::StrCat("number ", number_.value(), ": not all members answered in time"));
    channel_.change_.wait_for(lock, std::min<Duration>(deadline - now, std::chrono::seconds(1)));
  }
  return absl::OkStatus();
}

void LinkSet::announce_ready()
{
  const std::lock_guard lock(channel_.mutex_);
  const char ready = kReady;
  for (auto& [id, connection] : channel_.connections_)
    if (connection.links == this && connection.role == PeerChannel::Role::kLink)
      channel_.send_now(connection, {&ready, 1});
}

bool LinkSet::all_ready() const
{
  const std::lock_guard lock(channel_.mutex_);
  return std::all_of(pairs_.begin(), pairs_.end(), [](const Pair& pair) { return pair.ready; });
}

void LinkSet::wait_for_change(Duration at_most)
{
  std::unique_lock lock(channel_.mutex_);
  channel_.change_.wait_for(lock, at_most);
}

absl::Status LinkSet::establish()
{
  const std::lock_guard lock(channel_.mutex_);
  for (const Pair& pair : pairs_)
    if (pair.state != PairState::kLinked)
      return absl::UnavailableError(absl::StrCat("worker ", pair.member.worker.value(), " at ",
                                                 pair.member.address, " left number ",
                                                 number_.value(), " while it was connected"));
  established_ = true;
  return absl::OkStatus();
}

void LinkSet::set_wake(std::function<void()> wake)
{
  const std::lock_guard lock(channel_.mutex_);
  wake_ = std::move(wake);
}

}  // namespace spillway::comm
