// SPDX-License-Identifier: Apache-2.0
#include "find_coordinator.h"

#include <algorithm>
#include <filesystem>
#include <system_error>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "host_addresses.h"

namespace spillway {
namespace {

namespace fs = std::filesystem;

}  // namespace

std::vector<std::string> carried_sockets(const std::string& temporary)
{
  std::vector<std::string> found;
  for (const std::string& root : {temporary, std::string("/tmp")})  // see SocketFolder
  {
    std::error_code error;
    for (fs::directory_iterator at(root, error), end; !error && at != end; at.increment(error))
    {
      if (!absl::StartsWith(at->path().filename().string(), "spillway-")) continue;
      const std::string path = at->path().string() + "/coordinator.sock";
      std::error_code ignored;
      if (fs::is_socket(path, ignored) && somebody_listens_at(path)) found.push_back(path);
    }
  }
  std::sort(found.begin(), found.end());
  found.erase(std::unique(found.begin(), found.end()), found.end());
  return found;
}

absl::StatusOr<std::string> find_coordinator(const std::string& temporary)
{
  const std::string usual = endpoint_text("127.0.0.1", kDefaultPort);
  if (somebody_listens("127.0.0.1", kDefaultPort)) return usual;
  const std::vector<std::string> sockets = carried_sockets(temporary);
  if (sockets.size() == 1) return absl::StrCat("unix:", sockets[0]);
  if (sockets.empty())
    return absl::UnavailableError(
        absl::StrCat("no coordinator listens at ", usual,
                     ", and no standalone job of this user runs here; name one by --endpoint"));
  return absl::InvalidArgumentError(
      absl::StrCat(sockets.size(), " standalone jobs run here; choose one of --endpoint unix:",
                   absl::StrJoin(sockets, " unix:")));
}

}  // namespace spillway
