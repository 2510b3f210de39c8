// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

#include "ucx_group.h"

namespace spillway::comm {

// One call of more than one message. pump() starts whatever may start now and never blocks; what
// is under way is counted in the group's windows, which outlive the call.
class UcxGroup::Exchange
{
 public:
  Exchange(UcxGroup& group, const Call& call);
  virtual ~Exchange() = default;
  // `agreed`: all members are known to make the same call; before that nothing is reduced. True
  // once this member has all it wants and all it sent has left.
  virtual bool pump(bool agreed) = 0;

 protected:
  // The bytes of piece `piece` of a run of `total` bytes; empty past its end.
  struct Extent
  {
    std::size_t offset = 0;
    std::size_t bytes = 0;
  };
  static Extent extent(std::uint64_t piece, std::size_t total);
  static std::uint64_t pieces(std::size_t total);
  std::uint32_t self() const { return group_.rank().value(); }
  // Calls `body(peer)` for the others, beginning behind this member, so that not all of them
  // address the same one first.
  template <typename Body>
  void others(Body body) const
  {
    for (std::uint32_t step = 1; step < group_.size(); ++step)
      body((self() + step) % group_.size());
  }
  void send(std::uint32_t peer, Phase phase, std::uint64_t piece, ByteSpan bytes, Window& window);
  void receive(std::uint32_t peer, Phase phase, std::uint64_t piece, MutableByteSpan bytes,
               Window& window);

  UcxGroup& group_;
  const Call& call_;
};

class UcxGroup::Reduction final : public Exchange
{
 public:
  Reduction(UcxGroup& group, const Call& call);
  bool pump(bool agreed) override;

 private:
  ByteSpan shard_piece(std::uint32_t owner, std::uint64_t piece) const;
  MutableByteSpan staged(std::uint32_t peer, std::uint64_t piece) const;
  void fold(std::uint64_t piece);

  struct Shard
  {
    std::size_t offset = 0;
    std::size_t bytes = 0;
  };
  std::vector<Shard> shards_;
  const bool gathers_;  // all_reduce: results go to everybody
  std::uint64_t own_pieces_ = 0;
  std::uint64_t most_pieces_ = 0;
  // Progress in pieces, each at most a window ahead of what it depends on.
  std::uint64_t awaited_ = 0;
  std::uint64_t contributed_ = 0;
  std::uint64_t reduced_ = 0;
  std::uint64_t results_awaited_ = 0;
  std::uint64_t results_complete_ = 0;
};

class UcxGroup::Gather final : public Exchange
{
 public:
  Gather(UcxGroup& group, const Call& call);
  bool pump(bool agreed) override;

 private:
  const std::size_t bytes_;
  std::uint64_t awaited_ = 0;
  std::uint64_t sent_ = 0;
  std::uint64_t complete_ = 0;
};

class UcxGroup::Broadcast final : public Exchange
{
 public:
  Broadcast(UcxGroup& group, const Call& call);
  bool pump(bool agreed) override;

 private:
  bool pump_root();
  bool pump_receiver();

  const std::uint32_t root_;
  std::uint64_t started_ = 0;
  std::uint64_t complete_ = 0;
};

}  // namespace spillway::comm
