// SPDX-License-Identifier: Apache-2.0
#include "spillway/comm/transport.h"

#include <utility>

namespace spillway::comm {

absl::StatusOr<std::unique_ptr<Transport>> make_transport(TransportOptions options)
{
  return make_ucx_transport(std::move(options));
}

}  // namespace spillway::comm
