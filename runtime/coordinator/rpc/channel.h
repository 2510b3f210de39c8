// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <grpcpp/grpcpp.h>

#include <memory>
#include <string>

#include "absl/status/status.h"
#include "rpc/address.h"
#include "spillway/base/clock.h"

namespace spillway::coordinator {

// A list of 16,384 members with long addresses fits twice.
inline constexpr int kMessageBytesMax = 8 << 20;

// gRPC's own messages go to our log, at debug level: what matters comes back as a status.
void quiet_grpc();

// A channel of its own connection, so that an earlier failure to connect delays nothing.
std::shared_ptr<grpc::Channel> open_channel(const Address& address);

// What every server of ours sets: limits, pings that find a stopped peer, no shared port.
void set_server_limits(grpc::ServerBuilder& builder);

// The two share their codes.
absl::Status to_absl(const grpc::Status& status);
grpc::Status to_grpc(const absl::Status& status);

// `span` from now, as gRPC takes deadlines.
gpr_timespec grpc_deadline(Duration span);

}  // namespace spillway::coordinator
