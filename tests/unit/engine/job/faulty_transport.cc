// SPDX-License-Identifier: Apache-2.0
#include "faulty_transport.h"

#include <atomic>
#include <condition_variable>
#include <mutex>
#include <utility>

#include "absl/strings/str_cat.h"

namespace spillway::testing {
namespace {

class FaultyGroup final : public comm::Group
{
 public:
  FaultyGroup(std::unique_ptr<comm::Group> inner, const LinkFaults& faults, comm::AbortWord& abort)
      : inner_(std::move(inner)), faults_(faults), abort_(abort)
  {
  }
  Number number() const override { return inner_->number(); }
  Rank rank() const override { return inner_->rank(); }
  std::uint32_t size() const override { return inner_->size(); }
  WorkerId worker(Rank rank) const override { return inner_->worker(rank); }
  absl::StatusOr<MutableByteSpan> allocate(std::size_t bytes) override
  {
    return inner_->allocate(bytes);
  }
  absl::Status all_reduce(const comm::OpName& name, comm::DType dtype, comm::ReduceOp op,
                          ByteSpan contribution, MutableByteSpan result,
                          const comm::CallOptions& options) override
  {
    return inner_->all_reduce(name, dtype, op, contribution, result, options);
  }
  absl::Status reduce_scatter(const comm::OpName& name, comm::DType dtype, comm::ReduceOp op,
                              ByteSpan contribution, MutableByteSpan result,
                              const comm::CallOptions& options) override
  {
    return inner_->reduce_scatter(name, dtype, op, contribution, result, options);
  }
  absl::Status all_gather(const comm::OpName& name, ByteSpan record, MutableByteSpan results,
                          const comm::CallOptions& options) override
  {
    if (faults_.stalls && faults_.stalls(worker(rank()), name)) return stand_still();
    return inner_->all_gather(name, record, results, options);
  }
  absl::Status broadcast(const comm::OpName& name, Rank root, ByteSpan source,
                         MutableByteSpan result, const comm::CallOptions& options) override
  {
    return inner_->broadcast(name, root, source, result, options);
  }
  void progress() override { inner_->progress(); }
  comm::FlightRecorder& recorder() override { return inner_->recorder(); }

 private:
  absl::Status stand_still()
  {
    std::mutex mutex;
    std::condition_variable raised;
    const comm::AbortWord::Subscription wake(abort_, [&] {
      const std::lock_guard lock(mutex);
      raised.notify_all();
    });
    std::unique_lock lock(mutex);
    const bool aborted = raised.wait_for(lock, std::chrono::seconds(60),
                                         [this] { return abort_.covers(inner_->number()); });
    return aborted ? absl::AbortedError("a call that stood still was aborted")
                   : absl::InternalError("a call stood still and nobody aborted it");
  }

  std::unique_ptr<comm::Group> inner_;
  const LinkFaults& faults_;
  comm::AbortWord& abort_;
};

class FaultyTransport final : public comm::Transport
{
 public:
  FaultyTransport(std::unique_ptr<comm::Transport> inner, const LinkFaults& faults)
      : inner_(std::move(inner)), faults_(faults)
  {
  }
  const std::string& address() const override { return inner_->address(); }
  absl::string_view backend() const override { return inner_->backend(); }
  comm::ConnectOutcome connect(const comm::GroupSpec& spec, comm::AbortWord& abort,
                               MonotonicTime deadline) override
  {
    self_ = spec.members[spec.rank.value()].worker.value();
    comm::ConnectOutcome outcome;
    for (const comm::Member& peer : spec.members)
      if (is_cut(peer.worker)) outcome.unreachable.push_back(peer.worker);
    if (!outcome.unreachable.empty())
    {
      outcome.status = absl::UnavailableError("a link is cut");
      return outcome;
    }
    outcome = inner_->connect(spec, abort, deadline);
    if (outcome.group)
      outcome.group = std::make_unique<FaultyGroup>(std::move(outcome.group), faults_, abort);
    return outcome;
  }
  absl::Status read_range(const comm::RangeRequest& request, MutableByteSpan destination,
                          const comm::CallOptions& options, comm::AbortWord& abort) override
  {
    if (faults_.reads) faults_.reads();
    return inner_->read_range(request, destination, options, abort);
  }
  absl::Status probe(Lineage lineage, const comm::Member& peer,
                     const comm::CallOptions& options) override
  {
    if (is_cut(peer.worker)) return absl::UnavailableError("the link is cut");
    return inner_->probe(lineage, peer, options);
  }
  comm::FlightRecorder& recorder() override { return inner_->recorder(); }
  void break_links_for_test() override { inner_->break_links_for_test(); }

 private:
  bool is_cut(WorkerId peer) const
  {
    return faults_.cut && peer.value() != self_ && faults_.cut(WorkerId(self_), peer);
  }

  std::unique_ptr<comm::Transport> inner_;
  const LinkFaults& faults_;
  std::atomic<std::uint64_t> self_{0};  // told by the first group
};

}  // namespace

std::unique_ptr<comm::Transport> make_faulty_transport(std::unique_ptr<comm::Transport> inner,
                                                       const LinkFaults& faults)
{
  return std::make_unique<FaultyTransport>(std::move(inner), faults);
}

}  // namespace spillway::testing
