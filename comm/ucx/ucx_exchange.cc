// SPDX-License-Identifier: Apache-2.0
#include "ucx_exchange.h"

#include <algorithm>
#include <cstring>

#include "reduce.h"

namespace spillway::comm {

UcxGroup::Exchange::Exchange(UcxGroup& group, const Call& call) : group_(group), call_(call) {}

UcxGroup::Exchange::Extent UcxGroup::Exchange::extent(std::uint64_t piece, std::size_t total)
{
  const std::size_t offset = std::min<std::size_t>(piece * kPieceBytes, total);
  return {.offset = offset, .bytes = std::min(kPieceBytes, total - offset)};
}

std::uint64_t UcxGroup::Exchange::pieces(std::size_t total)
{
  return (total + kPieceBytes - 1) / kPieceBytes;
}

void UcxGroup::Exchange::send(std::uint32_t peer, Phase phase, std::uint64_t piece, ByteSpan bytes,
                              Window& window)
{
  group_.worker_->send(peer, group_.tag(self(), phase, call_, piece), bytes,
                       window.at(piece, peer));
}

void UcxGroup::Exchange::receive(std::uint32_t peer, Phase phase, std::uint64_t piece,
                                 MutableByteSpan bytes, Window& window)
{
  group_.worker_->receive(group_.tag(peer, phase, call_, piece), bytes, window.at(piece, peer));
}

std::unique_ptr<UcxGroup::Exchange> UcxGroup::make_exchange(const Call& call)
{
  switch (call.signature.collective)
  {
    case Collective::kAllReduce:
    case Collective::kReduceScatter:
      return std::make_unique<Reduction>(*this, call);
    case Collective::kAllGather:
      return std::make_unique<Gather>(*this, call);
    case Collective::kBroadcast:
      break;
  }
  return std::make_unique<Broadcast>(*this, call);
}

UcxGroup::Reduction::Reduction(UcxGroup& group, const Call& call)
    : Exchange(group, call), gathers_(call.signature.collective == Collective::kAllReduce)
{
  const std::size_t element = size_bytes(call.signature.dtype);
  for (std::uint32_t owner = 0; owner < group.size(); ++owner)
  {
    const ShardRange range = shard_range(call.signature.bytes / element, group.size(), Rank(owner));
    shards_.push_back({.offset = range.begin * element, .bytes = range.count() * element});
    most_pieces_ = std::max(most_pieces_, pieces(shards_.back().bytes));
  }
  own_pieces_ = pieces(shards_[self()].bytes);
  group.staging_.resize(kWindow * group.size() * kPieceBytes);
}

ByteSpan UcxGroup::Reduction::shard_piece(std::uint32_t owner, std::uint64_t piece) const
{
  const Extent part = extent(piece, shards_[owner].bytes);
  return call_.contribution.subspan(shards_[owner].offset + part.offset, part.bytes);
}

MutableByteSpan UcxGroup::Reduction::staged(std::uint32_t peer, std::uint64_t piece) const
{
  const std::size_t slot = piece % kWindow * group_.size() + peer;
  return {group_.staging_.data() + slot * kPieceBytes, extent(piece, shards_[self()].bytes).bytes};
}

void UcxGroup::Reduction::fold(std::uint64_t piece)
{
  std::vector<const std::byte*> sources;
  for (std::uint32_t peer = 0; peer < group_.size(); ++peer)
    sources.push_back(peer == self() ? shard_piece(peer, piece).data()
                                     : staged(peer, piece).data());
  const Extent part = extent(piece, shards_[self()].bytes);
  const std::size_t begin = (gathers_ ? shards_[self()].offset : 0) + part.offset;
  const MutableByteSpan out = call_.result.subspan(begin, part.bytes);
  const DType dtype = call_.signature.dtype;
  reduce(dtype, call_.signature.op, sources, out.data(), part.bytes / size_bytes(dtype));
  if (!gathers_) return;
  others([&](std::uint32_t peer) { send(peer, kResult, piece, out, group_.results_out_); });
}

bool UcxGroup::Reduction::pump(bool agreed)
{
  for (; awaited_ < std::min(own_pieces_, reduced_ + kWindow); ++awaited_)
    others([&](std::uint32_t peer) {
      receive(peer, kContribution, awaited_, staged(peer, awaited_), group_.contributions_in_);
    });
  const std::uint64_t results_limit =
      gathers_ ? std::min(most_pieces_, results_complete_ + kWindow) : 0;
  for (; results_awaited_ < results_limit; ++results_awaited_)
    others([&](std::uint32_t peer) {
      const Extent part = extent(results_awaited_, shards_[peer].bytes);
      if (part.bytes == 0) return;
      receive(peer, kResult, results_awaited_,
              call_.result.subspan(shards_[peer].offset + part.offset, part.bytes),
              group_.results_in_);
    });
  // Who has reduced a piece has heard from everybody, so this bounds how far members drift apart.
  const std::uint64_t contributed_limit =
      reduced_ == own_pieces_ ? most_pieces_ : std::min(most_pieces_, reduced_ + kWindow);
  for (; contributed_ < contributed_limit && group_.contributions_out_.idle(contributed_);
       ++contributed_)
    others([&](std::uint32_t peer) {
      const ByteSpan part = shard_piece(peer, contributed_);
      if (!part.empty()) send(peer, kContribution, contributed_, part, group_.contributions_out_);
    });
  for (; agreed && reduced_ < awaited_ && group_.contributions_in_.idle(reduced_) &&
         group_.results_out_.idle(reduced_);
       ++reduced_)
    fold(reduced_);
  while (results_complete_ < results_awaited_ && group_.results_in_.idle(results_complete_))
    ++results_complete_;
  return contributed_ == most_pieces_ && reduced_ == own_pieces_ &&
         (!gathers_ || results_complete_ == most_pieces_) && group_.contributions_out_.idle() &&
         group_.results_out_.idle();
}

UcxGroup::Gather::Gather(UcxGroup& group, const Call& call)
    : Exchange(group, call), bytes_(call.signature.bytes)
{
  std::memcpy(call.result.data() + self() * bytes_, call.contribution.data(), bytes_);
}

bool UcxGroup::Gather::pump(bool)
{
  const std::uint64_t total = pieces(bytes_);
  const std::uint64_t limit = std::min(total, complete_ + kWindow);
  for (; awaited_ < limit; ++awaited_)
    others([&](std::uint32_t peer) {
      const Extent part = extent(awaited_, bytes_);
      receive(peer, kResult, awaited_,
              call_.result.subspan(peer * bytes_ + part.offset, part.bytes), group_.results_in_);
    });
  for (; sent_ < limit && group_.results_out_.idle(sent_); ++sent_)
    others([&](std::uint32_t peer) {
      const Extent part = extent(sent_, bytes_);
      send(peer, kResult, sent_, call_.contribution.subspan(part.offset, part.bytes),
           group_.results_out_);
    });
  while (complete_ < awaited_ && group_.results_in_.idle(complete_)) ++complete_;
  return sent_ == total && complete_ == total && group_.results_out_.idle();
}

UcxGroup::Broadcast::Broadcast(UcxGroup& group, const Call& call)
    : Exchange(group, call), root_(call.signature.root)
{
  group.staging_.resize(std::max(group.staging_.size(), kWindow * group.size()));
  if (self() == root_)
    std::memcpy(call.result.data(), call.contribution.data(), call.contribution.size());
}

bool UcxGroup::Broadcast::pump(bool)
{
  return self() == root_ ? pump_root() : pump_receiver();
}

bool UcxGroup::Broadcast::pump_root()
{
  const std::uint64_t total = pieces(call_.contribution.size());
  for (; started_ < total && group_.results_out_.idle(started_); ++started_)
    others([&](std::uint32_t peer) {
      const Extent part = extent(started_, call_.contribution.size());
      const std::size_t slot = started_ % kWindow * group_.size() + peer;
      receive(peer, kAcknowledge, started_, {group_.staging_.data() + slot, 1},
              group_.results_out_);
      send(peer, kResult, started_, call_.contribution.subspan(part.offset, part.bytes),
           group_.results_out_);
    });
  return started_ == total && group_.results_out_.idle();
}

bool UcxGroup::Broadcast::pump_receiver()
{
  const std::uint64_t total = pieces(call_.result.size());
  for (; started_ < std::min(total, complete_ + kWindow); ++started_)
  {
    const Extent part = extent(started_, call_.result.size());
    receive(root_, kResult, started_, call_.result.subspan(part.offset, part.bytes),
            group_.results_in_);
  }
  for (; complete_ < started_ && group_.results_in_.idle(complete_) &&
         group_.results_out_.idle(complete_);
       ++complete_)
    send(root_, kAcknowledge, complete_, {group_.staging_.data(), 1}, group_.results_out_);
  return complete_ == total && group_.results_out_.idle();
}

}  // namespace spillway::comm
