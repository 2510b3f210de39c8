// SPDX-License-Identifier: Apache-2.0
#include <fstream>
#include <mutex>
#include <utility>

#include "absl/strings/str_cat.h"
#include "backend.h"
#include "spillway/base/log.h"
#include "spillway/base/status.h"
#include "ucx_group.h"
#include "ucx_worker.h"

namespace spillway::comm {
namespace {

constexpr std::uint32_t kHelloPhase = 15;

// The same for all processes of one running kernel.
std::string host_id()
{
  std::string id;
  std::getline(std::ifstream("/proc/sys/kernel/random/boot_id"), id);
  return id;
}

// A hello through UCX to each peer and from each: it makes UCX connect now and not under the first
// step, and shows that the pair works and not just its TCP link.
class UcxEndpoint final : public Endpoint
{
 public:
  UcxEndpoint(std::string host, std::string address, std::unique_ptr<UcxWorker> worker)
      : host_(std::move(host)), address_(std::move(address)), worker_(std::move(worker))
  {
  }

  std::string blob() override
  {
    ByteWriter writer;
    writer.text("ucx");
    writer.text(host_);
    writer.text(address_);
    return writer.take();
  }

  absl::Status begin(const GroupSpec& spec, const std::vector<std::string>& blobs) override
  {
    spec_ = spec;
    hellos_.resize(blobs.size());
    incoming_.resize(blobs.size());
    outgoing_.resize(blobs.size());
    for (std::uint32_t peer = 0; peer < blobs.size(); ++peer)
    {
      if (peer == spec.rank.value()) continue;
      SPILLWAY_RETURN_IF_ERROR(annotate(
          greet(peer, blobs[peer]), absl::StrCat("worker ", spec.members[peer].worker.value())));
    }
    return absl::OkStatus();
  }

  absl::StatusOr<bool> advance() override
  {
    while (worker_->progress())
    {
    }
    bool done = true;
    for (std::uint32_t peer = 0; peer < hellos_.size(); ++peer)
    {
      const std::string doing =
          absl::StrCat("hello with worker ", spec_.members[peer].worker.value());
      SPILLWAY_RETURN_IF_ERROR(ucx_status(incoming_[peer].error, doing));
      SPILLWAY_RETURN_IF_ERROR(ucx_status(outgoing_[peer].error, doing));
      done = done && incoming_[peer].count == 0 && outgoing_[peer].count == 0;
    }
    return done;
  }

  std::vector<WorkerId> silent() const override
  {
    std::vector<WorkerId> workers;
    for (std::uint32_t peer = 0; peer < incoming_.size(); ++peer)
      if (incoming_[peer].count != 0 || outgoing_[peer].count != 0)
        workers.push_back(spec_.members[peer].worker);
    return workers;
  }

  std::unique_ptr<Group> finish(GroupParts parts) && override
  {
    return std::make_unique<UcxGroup>(std::move(parts), std::move(worker_));
  }

 private:
  absl::Status greet(std::uint32_t peer, const std::string& blob)
  {
    ByteReader reader(as_bytes(blob));
    SPILLWAY_ASSIGN_OR_RETURN(const std::string kind, reader.text());
    if (kind != "ucx") return absl::FailedPreconditionError("uses another transport than UCX");
    SPILLWAY_ASSIGN_OR_RETURN(const std::string host, reader.text());
    SPILLWAY_ASSIGN_OR_RETURN(const std::string address, reader.text());
    SPILLWAY_RETURN_IF_ERROR(worker_->connect(peer, address, host != host_));
    const std::uint32_t self = spec_.rank.value();
    worker_->receive(UcxTag{.from = peer, .phase = kHelloPhase}, {&hellos_[peer], 1},
                     incoming_[peer]);
    worker_->send(peer, UcxTag{.from = self, .phase = kHelloPhase}, {&hello_, 1}, outgoing_[peer]);
    return absl::OkStatus();
  }

  const std::string host_;
  const std::string address_;
  GroupSpec spec_;
  const std::byte hello_{1};
  // UCX writes to these until the worker is gone, which is why it comes after them.
  std::vector<std::byte> hellos_;
  std::vector<UcxPending> incoming_;
  std::vector<UcxPending> outgoing_;
  std::unique_ptr<UcxWorker> worker_;
};

class UcxBackend final : public Backend
{
 public:
  explicit UcxBackend(std::unique_ptr<UcxContext> context)
      : host_(host_id()), context_(std::move(context))
  {
  }
  absl::string_view name() const override { return "ucx"; }

  absl::StatusOr<std::unique_ptr<Endpoint>> prepare(const GroupSpec&) override
  {
    std::unique_ptr<UcxWorker> worker;
    {
      const std::lock_guard lock(mutex_);
      worker = std::move(spare_);
    }
    if (!worker)
    {
      SPILLWAY_ASSIGN_OR_RETURN(worker, UcxWorker::create(*context_));
    }
    SPILLWAY_ASSIGN_OR_RETURN(std::string address, worker->address());
    return std::make_unique<UcxEndpoint>(host_, std::move(address), std::move(worker));
  }

  void replenish() override
  {
    {
      const std::lock_guard lock(mutex_);
      if (spare_) return;
    }
    auto worker = UcxWorker::create(*context_);
    if (!worker.ok())
    {
      // The next number makes its own, or says why it cannot.
      log_debug("no spare UCX worker: ", worker.status().message());
      return;
    }
    const std::lock_guard lock(mutex_);
    spare_ = *std::move(worker);
  }

 private:
  const std::string host_;
  std::unique_ptr<UcxContext> context_;
  std::mutex mutex_;
  // Making a worker takes milliseconds, which a number after a fault should not wait for.
  std::unique_ptr<UcxWorker> spare_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<Transport>> make_ucx_transport(TransportOptions options)
{
  SPILLWAY_ASSIGN_OR_RETURN(std::unique_ptr<UcxContext> context, UcxContext::create());
  auto backend = std::make_unique<UcxBackend>(std::move(context));
  backend->replenish();
  return make_peer_transport(std::move(options), std::move(backend));
}

}  // namespace spillway::comm
