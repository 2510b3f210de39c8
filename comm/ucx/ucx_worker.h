// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <ucp/api/ucp.h>

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "peer/socket.h"
#include "spillway/base/bytes.h"

namespace spillway::comm {

// The process's UCX library state. Shared by workers that different threads drive.
class UcxContext
{
 public:
  static absl::StatusOr<std::unique_ptr<UcxContext>> create();
  ~UcxContext();
  ucp_context_h handle() const { return context_; }

 private:
  explicit UcxContext(ucp_context_h context) : context_(context) {}
  ucp_context_h context_;
};

// Requests under way, and the first error of one that ended. UCX writes here from inside
// UcxWorker::progress, also while the worker is destroyed, so it belongs to the worker.
struct UcxPending
{
  std::uint32_t count = 0;
  ucs_status_t error = UCS_OK;
};

// Tells one message from another. Receivers name the sender; both sides count calls alike.
struct UcxTag
{
  std::uint32_t from = 0;   // rank, 8 bits
  std::uint32_t phase = 0;  // 4 bits
  std::uint64_t call = 0;   // modulo 2^32
  std::uint64_t piece = 0;  // 20 bits
  ucp_tag_t value() const
  {
    return (static_cast<ucp_tag_t>(from) << 56) | (static_cast<ucp_tag_t>(phase) << 52) |
           ((call & 0xffffffffU) << 20) | (piece & 0xfffffU);
  }
};

// One UCP worker and its endpoints: the transport of one number. One thread at a time. Destroying
// it drops whatever is under way; with requests to a dead peer that is the only way to end them.
class UcxWorker
{
 public:
  static absl::StatusOr<std::unique_ptr<UcxWorker>> create(const UcxContext& context);
  ~UcxWorker();
  UcxWorker(const UcxWorker&) = delete;
  UcxWorker& operator=(const UcxWorker&) = delete;

  // What a peer's connect() takes.
  absl::StatusOr<std::string> address() const;
  // Endpoints are kept by rank; `rank` must not be connected yet. A peer on another host is
  // watched by UCX itself, which costs the fast paths inside one host.
  absl::Status connect(std::uint32_t rank, const std::string& address, bool other_host);

  // Begins to send or receive and counts it in `pending` until it has ended. A sent span may be
  // used again, and a received one read, when the count has gone down.
  void send(std::uint32_t rank, UcxTag tag, ByteSpan bytes, UcxPending& pending);
  void receive(UcxTag tag, MutableByteSpan bytes, UcxPending& pending);

  // True if anything moved. Never blocks.
  bool progress();
  // Sleeps until there may be something to progress, `wake` is signalled, or `timeout_ms` are over.
  void await_event(const WakeEvent& wake, int timeout_ms);

 private:
  explicit UcxWorker(ucp_worker_h worker) : worker_(worker) {}
  void track(ucs_status_ptr_t request, UcxPending& pending);

  ucp_worker_h worker_;
  int event_fd_ = -1;
  std::vector<ucp_ep_h> endpoints_;
};

absl::Status ucx_status(ucs_status_t status, absl::string_view doing);

}  // namespace spillway::comm
