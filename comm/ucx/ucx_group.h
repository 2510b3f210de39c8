// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <vector>

#include "group_base.h"
#include "peer/socket.h"
#include "ucx_worker.h"

namespace spillway::comm {

// A group over UCX. Every call begins with a head from each member to each other one: the call's
// signature and, up to kInlineBytes, the payload itself, so that a small call is one round of
// messages. Larger ones go on in pieces, a window of them under way:
//   reduction  owner o of shard o receives piece p from all, folds it in rank order into its
//              result, and sends it to all, who receive it in place
//   gather     each sends the pieces of its record to all
//   broadcast  the root sends pieces to all; each is acknowledged, which bounds what is queued
// A member runs at most two windows ahead of another, so unexpected messages stay bounded too.
class UcxGroup final : public GroupBase
{
 public:
  static constexpr std::size_t kInlineBytes = 8 * 1024;
  static constexpr std::size_t kPieceBytes = 64 * 1024;
  static constexpr std::size_t kWindow = 4;

  UcxGroup(GroupParts parts, std::unique_ptr<UcxWorker> worker);
  ~UcxGroup() override;

  void progress() override;

 private:
  enum Phase : std::uint32_t
  {
    kHead,
    kContribution,
    kResult,
    kAcknowledge
  };
  // What is under way with each peer in each slot of a window.
  class Window
  {
   public:
    explicit Window(std::size_t peers) : peers_(peers), pending_(peers * kWindow) {}
    UcxPending& at(std::uint64_t piece, std::size_t peer)
    {
      return pending_[piece % kWindow * peers_ + peer];
    }
    bool idle(std::uint64_t piece) const;
    bool idle() const;
    bool idle_with(std::size_t peer) const;
    ucs_status_t error() const;

   private:
    std::size_t peers_;
    std::vector<UcxPending> pending_;
  };
  // A call of more than one message: pump() starts what may start, and says whether all is done.
  class Exchange;
  class Reduction;
  class Gather;
  class Broadcast;

  absl::Status run(const Call& call) override;
  void exchange_heads(const Call& call);
  // Whether all heads have come; fails if one differs.
  absl::StatusOr<bool> heads_agree(const Call& call);
  absl::Status finish_inline(const Call& call);
  std::unique_ptr<Exchange> make_exchange(const Call& call);
  // Pumps until done; sleeps when nothing moves.
  template <typename Pump>
  absl::Status drive(const Call& call, Pump pump);
  std::vector<std::uint32_t> missing() const;
  absl::Status transport_error() const;
  UcxTag tag(std::uint32_t from, Phase phase, const Call& call, std::uint64_t piece) const;
  std::byte* head_of(std::uint32_t peer);

  WakeEvent wake_;
  std::vector<std::byte> heads_;  // one of each member; one's own is what is sent
  std::vector<bool> head_checked_;
  std::vector<std::byte> staging_;  // contributions to one's own shard: slot by slot, peer by peer
  // UCX writes to these until the worker is gone, which is why it comes after them.
  Window head_window_;
  Window contributions_in_;
  Window contributions_out_;
  Window results_in_;
  Window results_out_;
  std::unique_ptr<UcxWorker> worker_;
  AbortWord::Subscription subscription_;
};

}  // namespace spillway::comm
