// SPDX-License-Identifier: Apache-2.0
#include "ucx_worker.h"

#include <poll.h>
#include <ucs/config/global_opts.h>

#include <utility>

#include "absl/strings/str_cat.h"
#include "spillway/base/check.h"
#include "spillway/base/environment.h"
#include "spillway/base/log.h"
#include "spillway/base/status.h"

namespace spillway::comm {
namespace {

// Our defaults, each of which the environment variable of UCX's own overrides:
//   TLS         cross-memory attach is left out: it lets a peer read this process's live memory,
//               needs ptrace rights that containers lack, and is no faster here.
//   RNDV_THRESH all messages are copied at the sender, so that a span is free again when the
//               request ends, dead peers or not. Pieces are small enough to stay in the cache.
constexpr std::pair<const char*, const char*> kDefaults[] = {{"TLS", "^cma"},
                                                             {"RNDV_THRESH", "inf"}};

void quiet_log()
{
  // Requests that die with their worker make UCX complain about its own memory pools.
  if (!environment("UCX_LOG_LEVEL")) ucs_global_opts_set_value("LOG_LEVEL", "fatal");
}

void on_sent(void* request, ucs_status_t status, void* pending)
{
  auto& counter = *static_cast<UcxPending*>(pending);
  if (status != UCS_OK && counter.error == UCS_OK) counter.error = status;
  --counter.count;
  ucp_request_free(request);
}

void on_received(void* request, ucs_status_t status, const ucp_tag_recv_info_t*, void* pending)
{
  on_sent(request, status, pending);
}

void on_endpoint_error(void*, ucp_ep_h, ucs_status_t status)
{
  log_debug("UCX reports a broken endpoint: ", ucs_status_string(status));
}

}  // namespace

absl::Status ucx_status(ucs_status_t status, absl::string_view doing)
{
  if (status == UCS_OK) return absl::OkStatus();
  const std::string text = absl::StrCat(doing, ": UCX says ", ucs_status_string(status));
  if (status == UCS_ERR_NO_MEMORY || status == UCS_ERR_NO_RESOURCE)
    return absl::ResourceExhaustedError(text);
  return absl::UnavailableError(text);
}

absl::StatusOr<std::unique_ptr<UcxContext>> UcxContext::create()
{
  quiet_log();
  ucp_config_t* config = nullptr;
  SPILLWAY_RETURN_IF_ERROR(ucx_status(ucp_config_read(nullptr, nullptr, &config), "read options"));
  for (const auto& [name, value] : kDefaults)
    if (!environment(absl::StrCat("UCX_", name))) ucp_config_modify(config, name, value);
  ucp_params_t params{};
  params.field_mask = UCP_PARAM_FIELD_FEATURES | UCP_PARAM_FIELD_MT_WORKERS_SHARED;
  params.features = UCP_FEATURE_TAG | UCP_FEATURE_WAKEUP;
  params.mt_workers_shared = 1;  // one number is connected while another one reduces
  ucp_context_h context = nullptr;
  const ucs_status_t status = ucp_init(&params, config, &context);
  ucp_config_release(config);
  SPILLWAY_RETURN_IF_ERROR(ucx_status(status, "start UCX"));
  return std::unique_ptr<UcxContext>(new UcxContext(context));
}

UcxContext::~UcxContext()
{
  ucp_cleanup(context_);
}

absl::StatusOr<std::unique_ptr<UcxWorker>> UcxWorker::create(const UcxContext& context)
{
  ucp_worker_params_t params{};
  params.field_mask = UCP_WORKER_PARAM_FIELD_THREAD_MODE;
  params.thread_mode = UCS_THREAD_MODE_SERIALIZED;
  ucp_worker_h handle = nullptr;
  SPILLWAY_RETURN_IF_ERROR(
      ucx_status(ucp_worker_create(context.handle(), &params, &handle), "make a UCX worker"));
  std::unique_ptr<UcxWorker> worker(new UcxWorker(handle));
  SPILLWAY_RETURN_IF_ERROR(
      ucx_status(ucp_worker_get_efd(handle, &worker->event_fd_), "get its event descriptor"));
  return worker;
}

UcxWorker::~UcxWorker()
{
  ucp_worker_destroy(worker_);
}

absl::StatusOr<std::string> UcxWorker::address() const
{
  ucp_address_t* address = nullptr;
  std::size_t size = 0;
  SPILLWAY_RETURN_IF_ERROR(
      ucx_status(ucp_worker_get_address(worker_, &address, &size), "get the worker's address"));
  std::string bytes(reinterpret_cast<const char*>(address), size);
  ucp_worker_release_address(worker_, address);
  return bytes;
}

absl::Status UcxWorker::connect(std::uint32_t rank, const std::string& address, bool other_host)
{
  if (endpoints_.size() <= rank) endpoints_.resize(rank + 1);
  ucp_ep_params_t params{};
  params.field_mask = UCP_EP_PARAM_FIELD_REMOTE_ADDRESS;
  params.address = reinterpret_cast<const ucp_address_t*>(address.data());
  if (other_host)
  {
    params.field_mask |= UCP_EP_PARAM_FIELD_ERR_HANDLING_MODE | UCP_EP_PARAM_FIELD_ERR_HANDLER;
    params.err_mode = UCP_ERR_HANDLING_MODE_PEER;
    params.err_handler = {.cb = on_endpoint_error, .arg = nullptr};
  }
  return ucx_status(ucp_ep_create(worker_, &params, &endpoints_[rank]), "make a UCX endpoint");
}

void UcxWorker::track(ucs_status_ptr_t request, UcxPending& pending)
{
  if (UCS_PTR_IS_PTR(request)) return;  // its callback counts it down
  --pending.count;
  const ucs_status_t status = UCS_PTR_STATUS(request);
  if (status != UCS_OK && pending.error == UCS_OK) pending.error = status;
}

void UcxWorker::send(std::uint32_t rank, UcxTag tag, ByteSpan bytes, UcxPending& pending)
{
  ucp_request_param_t params{};
  params.op_attr_mask = UCP_OP_ATTR_FIELD_CALLBACK | UCP_OP_ATTR_FIELD_USER_DATA;
  params.cb.send = on_sent;
  params.user_data = &pending;
  ++pending.count;
  track(ucp_tag_send_nbx(endpoints_[rank], bytes.data(), bytes.size(), tag.value(), &params),
        pending);
}

void UcxWorker::receive(UcxTag tag, MutableByteSpan bytes, UcxPending& pending)
{
  ucp_request_param_t params{};
  params.op_attr_mask = UCP_OP_ATTR_FIELD_CALLBACK | UCP_OP_ATTR_FIELD_USER_DATA;
  params.cb.recv = on_received;
  params.user_data = &pending;
  ++pending.count;
  track(ucp_tag_recv_nbx(worker_, bytes.data(), bytes.size(), tag.value(), ~ucp_tag_t{0}, &params),
        pending);
}

bool UcxWorker::progress()
{
  return ucp_worker_progress(worker_) != 0;
}

void UcxWorker::await_event(const WakeEvent& wake, int timeout_ms)
{
  if (ucp_worker_arm(worker_) != UCS_OK) return;  // something has arrived since
  pollfd fds[2] = {{.fd = event_fd_, .events = POLLIN, .revents = 0},
                   {.fd = wake.fd(), .events = POLLIN, .revents = 0}};
  poll(fds, 2, timeout_ms);
  if (fds[1].revents != 0) wake.drain();
}

}  // namespace spillway::comm
