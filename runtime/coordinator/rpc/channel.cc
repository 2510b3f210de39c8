// SPDX-License-Identifier: Apache-2.0
#include "rpc/channel.h"

#include <grpc/support/log.h>

#include <mutex>

#include "spillway/base/log.h"

namespace spillway::coordinator {
namespace {

void log_for_grpc(gpr_log_func_args* args)
{
  log_debug("gRPC: ", args->message);
}

}  // namespace

void quiet_grpc()
{
  static std::once_flag once;
  std::call_once(once, [] { gpr_set_log_function(log_for_grpc); });
}

std::shared_ptr<grpc::Channel> open_channel(const Address& address)
{
  quiet_grpc();
  grpc::ChannelArguments arguments;
  arguments.SetMaxReceiveMessageSize(kMessageBytesMax);
  arguments.SetMaxSendMessageSize(kMessageBytesMax);
  arguments.SetInt(GRPC_ARG_ENABLE_HTTP_PROXY, 0);
  arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
  // A host that does not answer at all is given up after this long.
  arguments.SetInt(GRPC_ARG_MIN_RECONNECT_BACKOFF_MS, 5000);
  arguments.SetInt(GRPC_ARG_INITIAL_RECONNECT_BACKOFF_MS, 5000);
  arguments.SetInt(GRPC_ARG_KEEPALIVE_TIME_MS, 10000);
  arguments.SetInt(GRPC_ARG_KEEPALIVE_TIMEOUT_MS, 5000);
  arguments.SetInt(GRPC_ARG_HTTP2_MAX_PINGS_WITHOUT_DATA, 0);
  return grpc::CreateCustomChannel(address.target(), grpc::InsecureChannelCredentials(), arguments);
}

void set_server_limits(grpc::ServerBuilder& builder)
{
  builder.SetMaxReceiveMessageSize(kMessageBytesMax);
  builder.SetMaxSendMessageSize(kMessageBytesMax);
  // Two coordinators must not share a port without noticing.
  builder.AddChannelArgument(GRPC_ARG_ALLOW_REUSEPORT, 0);
  // Who connects and says nothing holds a descriptor no longer than this.
  builder.AddChannelArgument(GRPC_ARG_SERVER_HANDSHAKE_TIMEOUT_MS, 10000);
  builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_TIME_MS, 10000);
  builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_TIMEOUT_MS, 5000);
  builder.AddChannelArgument(GRPC_ARG_HTTP2_MIN_RECV_PING_INTERVAL_WITHOUT_DATA_MS, 5000);
  builder.AddChannelArgument(GRPC_ARG_HTTP2_MAX_PINGS_WITHOUT_DATA, 0);
}

absl::Status to_absl(const grpc::Status& status)
{
  return absl::Status(static_cast<absl::StatusCode>(status.error_code()), status.error_message());
}

grpc::Status to_grpc(const absl::Status& status)
{
  return grpc::Status(static_cast<grpc::StatusCode>(status.code()), std::string(status.message()));
}

gpr_timespec grpc_deadline(Duration span)
{
  const Duration bounded = std::min<Duration>(span, std::chrono::hours(24));
  return gpr_time_add(gpr_now(GPR_CLOCK_MONOTONIC),
                      gpr_time_from_nanos(bounded.count(), GPR_TIMESPAN));
}

}  // namespace spillway::coordinator
