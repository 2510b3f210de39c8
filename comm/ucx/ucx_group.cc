// SPDX-License-Identifier: Apache-2.0
#include "ucx_group.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "absl/strings/str_cat.h"
#include "reduce.h"
#include "spillway/base/status.h"
#include "ucx_exchange.h"

namespace spillway::comm {
namespace {

constexpr std::size_t kHeadBytes = sizeof(Signature) + UcxGroup::kInlineBytes;
// Long enough for an answer from a peer that is running, short enough not to starve one that
// waits for this core.
constexpr Duration kSpin = std::chrono::microseconds(20);

// A transfer that failed never settles, so nothing is made of what it left.
bool settled(const UcxPending& pending)
{
  return pending.count == 0 && pending.error == UCS_OK;
}

}  // namespace

bool UcxGroup::Window::idle(std::uint64_t piece) const
{
  const auto begin = pending_.begin() + static_cast<std::ptrdiff_t>(piece % kWindow * peers_);
  return std::all_of(begin, begin + static_cast<std::ptrdiff_t>(peers_), settled);
}

bool UcxGroup::Window::idle() const
{
  return std::all_of(pending_.begin(), pending_.end(), settled);
}

bool UcxGroup::Window::idle_with(std::size_t peer) const
{
  for (std::size_t slot = 0; slot < kWindow; ++slot)
    if (!settled(pending_[slot * peers_ + peer])) return false;
  return true;
}

ucs_status_t UcxGroup::Window::error() const
{
  for (const UcxPending& pending : pending_)
    if (pending.error != UCS_OK) return pending.error;
  return UCS_OK;
}

UcxGroup::UcxGroup(GroupParts parts, std::unique_ptr<UcxWorker> worker)
    : GroupBase(std::move(parts)),
      heads_(size() * kHeadBytes),
      head_checked_(size()),
      head_window_(size()),
      contributions_in_(size()),
      contributions_out_(size()),
      results_in_(size()),
      results_out_(size()),
      worker_(std::move(worker)),
      subscription_(abort_word(), [this] { wake_.signal(); })
{
  links().set_wake([this] { wake_.signal(); });
}

UcxGroup::~UcxGroup()
{
  links().set_wake({});
}

void UcxGroup::progress()
{
  // After a failure nothing moves any more: the caller's memory may be gone.
  if (failed()) return;
  while (worker_->progress())
  {
  }
}

UcxTag UcxGroup::tag(std::uint32_t from, Phase phase, const Call& call, std::uint64_t piece) const
{
  return UcxTag{.from = from, .phase = phase, .call = call.signature.call, .piece = piece};
}

std::byte* UcxGroup::head_of(std::uint32_t peer)
{
  return heads_.data() + peer * kHeadBytes;
}

absl::Status UcxGroup::transport_error() const
{
  for (const Window* window :
       {&head_window_, &contributions_in_, &contributions_out_, &results_in_, &results_out_})
    SPILLWAY_RETURN_IF_ERROR(ucx_status(
        window->error(),
        absl::StrCat("number ", number().value(), ", rank ", rank().value(), ": transfer")));
  return absl::OkStatus();
}

std::vector<std::uint32_t> UcxGroup::missing() const
{
  std::vector<std::uint32_t> peers;
  for (std::uint32_t peer = 0; peer < size(); ++peer)
    if (!head_window_.idle_with(peer) || !contributions_in_.idle_with(peer) ||
        !results_in_.idle_with(peer) || !contributions_out_.idle_with(peer) ||
        !results_out_.idle_with(peer))
      peers.push_back(peer);
  return peers;
}

template <typename Pump>
absl::Status UcxGroup::drive(const Call& call, Pump pump)
{
  MonotonicTime idle_since{};
  while (true)
  {
    SPILLWAY_ASSIGN_OR_RETURN(const bool done, pump());
    if (done) return absl::OkStatus();
    if (worker_->progress())
    {
      idle_since = MonotonicTime{};
      continue;
    }
    // What had arrived before the news is used; only then does the news end the call.
    if (interruption_seen()) SPILLWAY_RETURN_IF_ERROR(interrupted(call, missing()));
    SPILLWAY_RETURN_IF_ERROR(transport_error());
    const MonotonicTime time = now();
    if (idle_since == MonotonicTime{}) idle_since = time;
    if (time >= call.deadline) SPILLWAY_RETURN_IF_ERROR(interrupted(call, missing()));
    if (time - idle_since < kSpin) continue;
    worker_->await_event(wake_, sleep_ms(call.deadline));
  }
}

void UcxGroup::exchange_heads(const Call& call)
{
  const bool is_inline = call.signature.bytes <= kInlineBytes;
  const std::uint32_t self = rank().value();
  std::byte* own = head_of(self);
  std::memcpy(own, &call.signature, sizeof(Signature));
  std::size_t bytes = sizeof(Signature);
  if (is_inline && !call.contribution.empty())
  {
    std::memcpy(own + bytes, call.contribution.data(), call.contribution.size());
    bytes += call.contribution.size();
  }
  std::fill(head_checked_.begin(), head_checked_.end(), false);
  for (std::uint32_t peer = 0; peer < size(); ++peer)
    if (peer != self)
      worker_->receive(tag(peer, kHead, call, 0), {head_of(peer), kHeadBytes},
                       head_window_.at(0, peer));
  for (std::uint32_t step = 1; step < size(); ++step)
  {
    const std::uint32_t peer = (self + step) % size();
    worker_->send(peer, tag(self, kHead, call, 0), {own, bytes}, head_window_.at(1, peer));
  }
}

absl::StatusOr<bool> UcxGroup::heads_agree(const Call& call)
{
  bool all = true;
  for (std::uint32_t peer = 0; peer < size(); ++peer)
  {
    if (head_checked_[peer]) continue;
    if (!settled(head_window_.at(0, peer)))
    {
      all = false;
      continue;
    }
    Signature theirs;
    std::memcpy(&theirs, head_of(peer), sizeof(theirs));
    const absl::Status same = compare(call, peer, theirs);
    // The others learn of the difference from this member's own head, so that leaves first.
    if (!same.ok() && !head_window_.idle(1)) return false;
    SPILLWAY_RETURN_IF_ERROR(same);
    head_checked_[peer] = true;
  }
  return all && head_window_.idle(1);
}

absl::Status UcxGroup::run(const Call& call)
{
  exchange_heads(call);
  if (call.signature.bytes <= kInlineBytes) return finish_inline(call);
  const std::unique_ptr<Exchange> exchange = make_exchange(call);
  return drive(call, [&]() -> absl::StatusOr<bool> {
    SPILLWAY_ASSIGN_OR_RETURN(const bool agreed, heads_agree(call));
    return exchange->pump(agreed) && agreed;
  });
}

absl::Status UcxGroup::finish_inline(const Call& call)
{
  SPILLWAY_RETURN_IF_ERROR(drive(call, [&] { return heads_agree(call); }));
  const Signature& signature = call.signature;
  const auto payload = [&](std::uint32_t peer) { return head_of(peer) + sizeof(Signature); };
  switch (signature.collective)
  {
    case Collective::kAllGather:
      for (std::uint32_t peer = 0; signature.bytes > 0 && peer < size(); ++peer)
        std::memcpy(call.result.data() + peer * signature.bytes, payload(peer), signature.bytes);
      return absl::OkStatus();
    case Collective::kBroadcast:
      if (signature.bytes > 0)
        std::memcpy(call.result.data(), payload(signature.root), signature.bytes);
      return absl::OkStatus();
    case Collective::kAllReduce:
    case Collective::kReduceScatter:
      break;
  }
  // Everybody folds everything: one round of messages instead of two, the same bits.
  const std::size_t element = size_bytes(signature.dtype);
  ShardRange range{.begin = 0, .end = signature.bytes / element};
  if (signature.collective == Collective::kReduceScatter)
    range = shard_range(range.end, size(), rank());
  std::vector<const std::byte*> sources;
  for (std::uint32_t peer = 0; peer < size(); ++peer)
    sources.push_back(payload(peer) + range.begin * element);
  reduce(signature.dtype, signature.op, sources, call.result.data(), range.count());
  return absl::OkStatus();
}

}  // namespace spillway::comm
