// SPDX-License-Identifier: Apache-2.0
#include "rpc/address.h"

#include <sys/un.h>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"

namespace spillway::coordinator {

std::string Address::target() const
{
  if (is_unix()) return absl::StrCat("unix:", path);
  if (absl::StrContains(host, ':')) return absl::StrCat("[", host, "]:", port);
  return absl::StrCat(host, ":", port);
}

absl::StatusOr<Address> parse_address(absl::string_view text)
{
  Address address;
  absl::string_view rest = text;
  if (absl::ConsumePrefix(&rest, "unix:"))
  {
    // One byte of sun_path is the final zero.
    constexpr std::size_t kPathMax = sizeof(sockaddr_un::sun_path) - 1;
    if (rest.empty() || rest.size() > kPathMax)
      return absl::InvalidArgumentError(
          absl::StrCat("address '", text, "': the path of a UNIX socket has 1 to ", kPathMax,
                       " bytes, not ", rest.size(), "; choose a shorter folder (TMPDIR)"));
    address.path = std::string(rest);
    return address;
  }
  const std::size_t colon = rest.rfind(':');
  const absl::string_view port = colon == absl::string_view::npos ? "" : rest.substr(colon + 1);
  absl::string_view host = rest.substr(0, colon);
  if (absl::ConsumePrefix(&host, "[")) absl::ConsumeSuffix(&host, "]");
  if (host.empty() || !absl::SimpleAtoi(port, &address.port) || address.port < 0 ||
      address.port > 65535)
    return absl::InvalidArgumentError(
        absl::StrCat("address '", text, "' is not HOST:PORT with a port of 0 to 65535, [IPV6]:PORT",
                     " or unix:/PATH"));
  address.host = std::string(host);
  return address;
}

bool is_loopback(const Address& address)
{
  return address.is_unix() || address.host == "localhost" || address.host == "::1" ||
         absl::StartsWith(address.host, "127.");
}

}  // namespace spillway::coordinator
