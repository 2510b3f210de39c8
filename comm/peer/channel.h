// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "socket.h"
#include "spillway/base/clock.h"
#include "spillway/comm/transport.h"
#include "spillway/comm/types.h"
#include "wire.h"

namespace spillway::comm {

class PeerChannel;

enum class PairState : std::uint8_t
{
  kConnecting,
  kLinked,
  kFailed,  // refused or unreachable before it stood; `failure` says why
  kLost,    // stood, and broke without goodbye
  kClosed   // the peer said goodbye
};

// This member's link to one other member of a number.
struct Pair
{
  Member member{};
  PairState state = PairState::kConnecting;
  absl::Status failure{};
  std::string blob{};  // the peer's backend address, once linked
  bool ready = false;
};

// The links of one number at one member, by rank; one's own entry counts as linked and ready.
// Owned by the group (or the attempt to build it); destroying it says goodbye to the peers.
// Guarded by the channel's mutex except where noted.
class LinkSet
{
 public:
  ~LinkSet();
  LinkSet(const LinkSet&) = delete;
  LinkSet& operator=(const LinkSet&) = delete;

  std::vector<Pair> pairs() const;
  // Blocks until no pair is connecting, or the bounds end it. After a first failure the others get
  // `grace` more, so that one attempt reports all that cannot be reached.
  absl::Status await_linked(MonotonicTime deadline, AbortWord& abort, Duration grace);
  void announce_ready();
  bool all_ready() const;
  // Waits for any change of the links, at most `at_most`.
  void wait_for_change(Duration at_most);
  // From now on losses are reported to PeerEvents. Fails if a peer is gone already.
  absl::Status establish();
  // Lock-free, for wait loops: whether a peer died.
  bool any_lost() const { return lost_.load(std::memory_order_acquire); }
  WorkerId lost_worker() const { return WorkerId(lost_worker_.load(std::memory_order_acquire)); }
  // Runs on the channel's thread at each change, under its mutex; must not call the channel.
  void set_wake(std::function<void()> wake);

 private:
  friend class PeerChannel;
  LinkSet(PeerChannel& channel, const GroupSpec& spec, std::string blob);
  bool any_in(PairState state) const;

  PeerChannel& channel_;
  const Lineage lineage_;
  const Number number_;
  const Rank rank_;
  const std::string blob_;
  std::vector<Pair> pairs_;
  bool established_ = false;
  std::function<void()> wake_;
  std::atomic<bool> lost_{false};
  std::atomic<std::uint64_t> lost_worker_{0};
};

// One listener per process and everything that arrives at it. Owns one thread, which accepts,
// shakes hands and watches links; it never blocks on a peer. Of two members the one with the higher
// rank connects. A handshake for a number that this process has not heard of waits (parked) until
// it has, or the peer gives up.
class PeerChannel
{
 public:
  // Takes over connections that ask for state or a probe; runs on the channel's thread, must not
  // block. The hello has been read, no reply has been sent.
  using ServiceHandler = std::function<void(Fd connection, Hello hello)>;

  static absl::StatusOr<std::unique_ptr<PeerChannel>> start(const TransportOptions& options,
                                                            ServiceHandler service);
  ~PeerChannel();

  const std::string& address() const { return address_; }

  // Begins to link this member with the others. kFailedPrecondition for a number that is open
  // already or was closed, or a second lineage.
  absl::StatusOr<std::unique_ptr<LinkSet>> open(const GroupSpec& spec, std::string blob);

  void break_links_for_test();

 private:
  friend class LinkSet;
  enum class Role : std::uint8_t
  {
    kAwaitHello,
    kParked,
    kConnecting,
    kAwaitReply,
    kLink
  };
  struct Connection
  {
    Fd fd{};
    Role role = Role::kAwaitHello;
    std::string in{};
    LinkSet* links = nullptr;
    std::uint32_t rank = 0;  // of the peer in `links`
    Hello hello{};           // kParked
    MonotonicTime since{};
    bool goodbye = false;
  };
  using ConnectionMap = std::map<std::uint64_t, Connection>;

  PeerChannel(const TransportOptions& options, ServiceHandler service, Fd listener,
              std::string address);
  void run();
  void accept_all();
  void watch(Connection connection, std::uint32_t events);
  // Each handler may erase its connection; none touches it afterwards.
  void handle(ConnectionMap::iterator at);
  void finish_connect(ConnectionMap::iterator at);
  bool read_available(Connection& connection);
  void greet(ConnectionMap::iterator at, Hello hello);
  void admit(ConnectionMap::iterator at, const Hello& hello);
  void refuse(ConnectionMap::iterator at, const absl::Status& why);
  void take_reply(ConnectionMap::iterator at, const std::string& payload);
  void take_link_bytes(ConnectionMap::iterator at, bool ended);
  void fail_pair(Connection& connection, const absl::Status& why);
  void close_links(LinkSet& links);
  void drop_half_open();
  void changed(LinkSet& links);
  bool send_now(const Connection& connection, absl::string_view bytes);

  const Clock& clock_;
  const PeerEvents events_;
  const ServiceHandler service_;
  const std::string address_;
  Fd listener_;
  Fd epoll_;
  WakeEvent stop_event_;

  mutable std::mutex mutex_;
  std::condition_variable change_;
  bool stopping_ = false;
  Lineage lineage_;
  Number fence_;  // numbers up to here were closed by this process
  std::map<Number, LinkSet*> numbers_;
  ConnectionMap connections_;
  std::uint64_t next_id_ = 2;
  // To be run by the channel's thread without the mutex.
  std::vector<std::function<void()>> notices_;
  std::thread thread_;
};

}  // namespace spillway::comm
