// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <mutex>
#include <set>
#include <thread>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "backend.h"
#include "peer/channel.h"
#include "peer/state_server.h"
#include "spillway/base/status.h"

namespace spillway::comm {
namespace {

constexpr Duration kFailureGrace = std::chrono::seconds(1);
constexpr Duration kAdvancePause = std::chrono::microseconds(200);

absl::Status check_spec(const GroupSpec& spec, const std::string& own_address)
{
  const std::string what = absl::StrCat("group of number ", spec.number.value());
  if (!spec.number || !spec.lineage)
    return absl::InvalidArgumentError(absl::StrCat(what, ": number or lineage is missing"));
  if (spec.rank.value() >= spec.members.size())
    return absl::InvalidArgumentError(
        absl::StrCat(what, ": rank ", spec.rank.value(), " of ", spec.members.size(), " members"));
  std::set<WorkerId> seen;
  for (const Member& member : spec.members)
    if (!member.worker || !seen.insert(member.worker).second)
      return absl::InvalidArgumentError(
          absl::StrCat(what, ": worker ", member.worker.value(), " is none or listed twice"));
  const std::string& listed = spec.members[spec.rank.value()].address;
  if (listed != own_address)
    return absl::InvalidArgumentError(absl::StrCat(what, ": rank ", spec.rank.value(),
                                                   " is listed at ", listed,
                                                   ", but this process is ", own_address));
  return absl::OkStatus();
}

class PeerTransport final : public Transport
{
 public:
  PeerTransport(const TransportOptions& options, std::unique_ptr<Backend> backend)
      : clock_(*options.clock),
        backend_(std::move(backend)),
        recorder_(clock_, options.flight_records),
        server_(clock_, options.state_handler)
  {
  }
  ~PeerTransport() override
  {
    if (replenisher_.joinable()) replenisher_.join();
    server_.stop();
    channel_.reset();  // its thread hands connections to the server, so it goes first
  }

  absl::Status listen(const TransportOptions& options)
  {
    SPILLWAY_ASSIGN_OR_RETURN(channel_, PeerChannel::start(options, [this](Fd fd, Hello hello) {
                                server_.take(std::move(fd), std::move(hello));
                              }));
    return absl::OkStatus();
  }

  const std::string& address() const override { return channel_->address(); }
  absl::string_view backend() const override { return backend_->name(); }
  FlightRecorder& recorder() override { return recorder_; }
  void break_links_for_test() override { channel_->break_links_for_test(); }

  absl::Status read_range(const RangeRequest& request, MutableByteSpan destination,
                          const CallOptions& options, AbortWord& abort) override
  {
    return read_state_range(clock_, request, destination, options, abort);
  }
  absl::Status probe(Lineage lineage, const Member& peer, const CallOptions& options) override
  {
    return probe_peer(clock_, peer, address(), lineage, options);
  }

  ConnectOutcome connect(const GroupSpec& spec, AbortWord& abort, MonotonicTime deadline) override;

 private:
  static ConnectOutcome failure(absl::Status status, const LinkSet& links,
                                const std::vector<WorkerId>& silent);
  absl::Status exchange(Endpoint& endpoint, LinkSet& links, const GroupSpec& spec, AbortWord& abort,
                        MonotonicTime deadline);

  // Beside the number that was connected, which is not to wait for it.
  void replenish()
  {
    const std::lock_guard lock(replenish_mutex_);
    if (replenisher_.joinable()) replenisher_.join();
    replenisher_ = std::thread([this] { backend_->replenish(); });
  }

  const Clock& clock_;
  std::unique_ptr<Backend> backend_;
  std::mutex replenish_mutex_;
  std::thread replenisher_;
  FlightRecorder recorder_;
  StateServer server_;
  std::unique_ptr<PeerChannel> channel_;
};

// Names who is missing: pairs that never stood, died, or are not heard through the backend.
ConnectOutcome PeerTransport::failure(absl::Status status, const LinkSet& links,
                                      const std::vector<WorkerId>& silent)
{
  ConnectOutcome outcome;
  std::vector<std::string> reasons;
  for (const Pair& pair : links.pairs())
  {
    const std::string who =
        absl::StrCat("worker ", pair.member.worker.value(), " at ", pair.member.address);
    if (pair.state == PairState::kFailed) reasons.push_back(std::string(pair.failure.message()));
    if (pair.state == PairState::kConnecting) reasons.push_back(who + " did not answer");
    if (pair.state == PairState::kLost) reasons.push_back(who + " died");
    if (pair.state == PairState::kClosed) reasons.push_back(who + " gave up");
    const bool quiet = std::find(silent.begin(), silent.end(), pair.member.worker) != silent.end();
    if (quiet && pair.state == PairState::kLinked)
      reasons.push_back(who + " is linked but not heard through the transport");
    // Who gave up is reachable: it could not reach somebody else.
    if ((pair.state != PairState::kLinked && pair.state != PairState::kClosed) || quiet)
      outcome.unreachable.push_back(pair.member.worker);
  }
  if (status.code() == absl::StatusCode::kAborted) outcome.unreachable.clear();
  if (!reasons.empty()) status = annotate(status, absl::StrJoin(reasons, "; "));
  outcome.status = std::move(status);
  return outcome;
}

absl::Status PeerTransport::exchange(Endpoint& endpoint, LinkSet& links, const GroupSpec& spec,
                                     AbortWord& abort, MonotonicTime deadline)
{
  std::vector<std::string> blobs;
  for (const Pair& pair : links.pairs()) blobs.push_back(pair.blob);
  SPILLWAY_RETURN_IF_ERROR(endpoint.begin(spec, blobs));
  bool announced = false;
  while (true)
  {
    SPILLWAY_ASSIGN_OR_RETURN(const bool complete, endpoint.advance());
    if (complete && !announced)
    {
      links.announce_ready();
      announced = true;
    }
    if (complete && links.all_ready()) return links.establish();
    const std::string what = absl::StrCat("number ", spec.number.value());
    if (abort.covers(spec.number))
      return absl::AbortedError(what + " was ended by an abort while it was connected");
    if (clock_.now() >= deadline)
      return absl::DeadlineExceededError(what + ": not all members were ready in time");
    for (const Pair& pair : links.pairs())
      if (pair.state != PairState::kLinked && !pair.ready)
        return absl::UnavailableError(what + ": a member left while it was connected");
    links.wait_for_change(kAdvancePause);
  }
}

ConnectOutcome PeerTransport::connect(const GroupSpec& spec, AbortWord& abort,
                                      MonotonicTime deadline)
{
  ConnectOutcome outcome;
  outcome.status = check_spec(spec, address());
  if (!outcome.status.ok()) return outcome;
  absl::StatusOr<std::unique_ptr<Endpoint>> endpoint = backend_->prepare(spec);
  outcome.status = endpoint.status();
  if (!outcome.status.ok()) return outcome;
  absl::StatusOr<std::unique_ptr<LinkSet>> links = channel_->open(spec, (*endpoint)->blob());
  outcome.status = links.status();
  if (!outcome.status.ok()) return outcome;

  absl::Status status = (*links)->await_linked(deadline, abort, kFailureGrace);
  if (status.ok())
    for (const Pair& pair : (*links)->pairs())
      if (pair.state != PairState::kLinked)
        status = absl::UnavailableError(
            absl::StrCat("number ", spec.number.value(), " cannot be connected"));
  if (!status.ok()) return failure(std::move(status), **links, {});

  status = exchange(**endpoint, **links, spec, abort, deadline);
  if (!status.ok()) return failure(std::move(status), **links, (*endpoint)->silent());
  outcome.group = std::move(**endpoint)
                      .finish(GroupParts{.spec = spec,
                                         .links = *std::move(links),
                                         .abort = &abort,
                                         .recorder = &recorder_,
                                         .clock = &clock_});
  replenish();
  return outcome;
}

}  // namespace

absl::StatusOr<std::unique_ptr<Transport>> make_peer_transport(TransportOptions options,
                                                               std::unique_ptr<Backend> backend)
{
  auto transport = std::make_unique<PeerTransport>(options, std::move(backend));
  SPILLWAY_RETURN_IF_ERROR(transport->listen(options));
  return transport;
}

}  // namespace spillway::comm
