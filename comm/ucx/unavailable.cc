// SPDX-License-Identifier: Apache-2.0
#include "absl/strings/str_cat.h"
#include "spillway/comm/transport.h"

namespace spillway::comm {

// Stands in for the folder in a build without UCX; the reason comes from the configuration.
absl::StatusOr<std::unique_ptr<Transport>> make_ucx_transport(TransportOptions)
{
  return absl::UnimplementedError(
      absl::StrCat("this build has no UCX transport: ", SPILLWAY_UCX_MISSING,
                   "; install the libucx wheel and configure again"));
}

}  // namespace spillway::comm
