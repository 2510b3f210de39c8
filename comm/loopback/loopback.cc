// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <condition_variable>
#include <map>
#include <memory>
#include <mutex>
#include <tuple>

#include "absl/strings/str_cat.h"
#include "group_base.h"
#include "reduce.h"
#include "spillway/base/check.h"

namespace spillway::comm {
namespace {

// What a member hands in for one call: a copy, so that nobody reads its memory after it has given
// the call up.
struct Deposit
{
  Signature signature;
  std::vector<std::byte> bytes;
};

// Where the members of one number meet. Shared by them, and by nobody else, until the last goes.
struct Meeting
{
  struct Round
  {
    std::vector<std::shared_ptr<const Deposit>> deposits;
    std::size_t left = 0;
  };
  std::mutex mutex;
  std::condition_variable change;
  std::map<std::uint64_t, Round> rounds;  // by call; members are at most one call apart
  std::uint64_t news = 0;                 // deposits and wakes

  void wake()
  {
    const std::lock_guard lock(mutex);
    ++news;
    change.notify_all();
  }
};

using MeetingKey = std::tuple<Lineage, Number, std::string>;

// The process's meetings. Members find each other here instead of through addresses.
std::shared_ptr<Meeting> join_meeting(const GroupSpec& spec)
{
  static std::mutex mutex;
  static std::map<MeetingKey, std::weak_ptr<Meeting>> meetings;
  const std::lock_guard lock(mutex);
  std::erase_if(meetings, [](const auto& entry) { return entry.second.expired(); });
  std::weak_ptr<Meeting>& found =
      meetings[MeetingKey(spec.lineage, spec.number, spec.members[0].address)];
  std::shared_ptr<Meeting> meeting = found.lock();
  if (!meeting) found = meeting = std::make_shared<Meeting>();
  return meeting;
}

class LoopbackGroup final : public GroupBase
{
 public:
  LoopbackGroup(GroupParts parts, std::shared_ptr<Meeting> meeting)
      : GroupBase(std::move(parts)),
        meeting_(std::move(meeting)),
        subscription_(abort_word(), [this] { meeting_->wake(); })
  {
    links().set_wake([this] { meeting_->wake(); });
  }
  ~LoopbackGroup() override { links().set_wake({}); }

  void progress() override {}

 private:
  absl::Status run(const Call& call) override;
  absl::StatusOr<std::vector<std::shared_ptr<const Deposit>>> meet(const Call& call);

  std::shared_ptr<Meeting> meeting_;
  AbortWord::Subscription subscription_;
};

absl::StatusOr<std::vector<std::shared_ptr<const Deposit>>> LoopbackGroup::meet(const Call& call)
{
  auto deposit = std::make_shared<Deposit>();
  deposit->signature = call.signature;
  deposit->bytes.assign(call.contribution.begin(), call.contribution.end());

  std::unique_lock lock(meeting_->mutex);
  Meeting::Round& round = meeting_->rounds[call.signature.call];
  round.deposits.resize(size());
  round.deposits[rank().value()] = std::move(deposit);
  ++meeting_->news;
  meeting_->change.notify_all();
  while (true)
  {
    std::vector<std::uint32_t> missing;
    for (std::uint32_t peer = 0; peer < size(); ++peer)
      if (!round.deposits[peer]) missing.push_back(peer);
    if (missing.empty()) break;
    // The caller is asked without the lock: it has locks of its own, under which it raises aborts.
    const std::uint64_t seen = meeting_->news;
    lock.unlock();
    const absl::Status status = interrupted(call, missing);
    if (!status.ok()) return status;
    lock.lock();
    if (meeting_->news != seen) continue;
    const Duration left = call.deadline - now();
    meeting_->change.wait_for(lock,
                              std::clamp<Duration>(left, Duration(1), std::chrono::seconds(1)));
  }
  std::vector<std::shared_ptr<const Deposit>> deposits = round.deposits;
  if (++round.left == size()) meeting_->rounds.erase(call.signature.call);
  return deposits;
}

absl::Status LoopbackGroup::run(const Call& call)
{
  const auto deposits = meet(call);
  if (!deposits.ok()) return deposits.status();
  for (std::uint32_t peer = 0; peer < size(); ++peer)
  {
    const absl::Status same = compare(call, peer, (*deposits)[peer]->signature);
    if (!same.ok()) return same;
  }
  const Signature& signature = call.signature;
  if (signature.collective == Collective::kBroadcast)
  {
    const auto& bytes = (*deposits)[signature.root]->bytes;
    std::copy(bytes.begin(), bytes.end(), call.result.begin());
    return absl::OkStatus();
  }
  if (signature.collective == Collective::kAllGather)
  {
    auto out = call.result.begin();
    for (const auto& deposit : *deposits)
      out = std::copy(deposit->bytes.begin(), deposit->bytes.end(), out);
    return absl::OkStatus();
  }
  const std::size_t element = size_bytes(signature.dtype);
  ShardRange range{.begin = 0, .end = signature.bytes / element};
  if (signature.collective == Collective::kReduceScatter)
    range = shard_range(range.end, size(), rank());
  std::vector<const std::byte*> sources;
  for (const auto& deposit : *deposits)
    sources.push_back(deposit->bytes.data() + range.begin * element);
  reduce(signature.dtype, signature.op, sources, call.result.data(), range.count());
  return absl::OkStatus();
}

class LoopbackEndpoint final : public Endpoint
{
 public:
  explicit LoopbackEndpoint(std::shared_ptr<Meeting> meeting) : meeting_(std::move(meeting)) {}
  std::string blob() override { return "loopback"; }
  absl::Status begin(const GroupSpec& spec, const std::vector<std::string>& blobs) override
  {
    for (std::size_t peer = 0; peer < blobs.size(); ++peer)
      if (blobs[peer] != blob())
        return absl::FailedPreconditionError(absl::StrCat(
            "worker ", spec.members[peer].worker.value(), " uses another transport than loopback"));
    return absl::OkStatus();
  }
  absl::StatusOr<bool> advance() override { return true; }
  std::vector<WorkerId> silent() const override { return {}; }
  std::unique_ptr<Group> finish(GroupParts parts) && override
  {
    return std::make_unique<LoopbackGroup>(std::move(parts), std::move(meeting_));
  }

 private:
  std::shared_ptr<Meeting> meeting_;
};

class LoopbackBackend final : public Backend
{
 public:
  absl::string_view name() const override { return "loopback"; }
  absl::StatusOr<std::unique_ptr<Endpoint>> prepare(const GroupSpec& spec) override
  {
    return std::make_unique<LoopbackEndpoint>(join_meeting(spec));
  }
};

}  // namespace

absl::StatusOr<std::unique_ptr<Transport>> make_loopback_transport(TransportOptions options)
{
  return make_peer_transport(std::move(options), std::make_unique<LoopbackBackend>());
}

}  // namespace spillway::comm
