// SPDX-License-Identifier: Apache-2.0
#include "socket_folder.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <system_error>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "host_addresses.h"
#include "spillway/base/clock.h"

namespace spillway {
namespace {

namespace fs = std::filesystem;

// A socket's path has at most 107 bytes; this leaves room for its name.
constexpr std::size_t kFolderBytesMax = 80;
constexpr char kPrefix[] = "spillway-";
constexpr std::size_t kSuffixBytes = 6;
// An agent that starts has listened long before.
constexpr std::chrono::seconds kDeadAge{60};

// It has sockets, and nobody listens at any.
bool is_dead(const fs::path& folder)
{
  bool any = false;
  std::error_code error;
  for (fs::directory_iterator at(folder, error), end; !error && at != end; at.increment(error))
  {
    std::error_code ignored;
    if (!fs::is_socket(at->path(), ignored)) return false;
    if (somebody_listens_at(at->path().string())) return false;
    any = true;
  }
  return any && !error;
}

}  // namespace

void remove_dead_folders(const std::string& temporary, std::chrono::seconds age)
{
  std::error_code error;
  for (fs::directory_iterator at(temporary, error), end; !error && at != end; at.increment(error))
  {
    const std::string name = at->path().filename().string();
    struct stat about = {};
    if (!absl::StartsWith(name, kPrefix) || name.size() != strlen(kPrefix) + kSuffixBytes) continue;
    if (lstat(at->path().c_str(), &about) != 0 || !S_ISDIR(about.st_mode)) continue;
    const std::int64_t age_ms = unix_time_ms() - std::int64_t{about.st_mtim.tv_sec} * 1000;
    if (about.st_uid != geteuid() || age_ms < age / std::chrono::milliseconds(1)) continue;
    std::error_code ignored;
    if (is_dead(at->path())) fs::remove_all(at->path(), ignored);
  }
}

absl::StatusOr<SocketFolder> SocketFolder::create(const std::string& temporary)
{
  std::string path = absl::StrCat(temporary, "/spillway-XXXXXX");
  if (path.size() > kFolderBytesMax) path = "/tmp/spillway-XXXXXX";
  remove_dead_folders(std::filesystem::path(path).parent_path(), kDeadAge);
  if (mkdtemp(path.data()) == nullptr)
    return absl::ResourceExhaustedError(absl::StrCat("no folder for sockets in ", temporary, ": ",
                                                     strerror(errno), "; set TMPDIR"));
  return SocketFolder(path);
}

SocketFolder::~SocketFolder()
{
  std::error_code error;
  if (!path_.empty()) std::filesystem::remove_all(path_, error);
}

}  // namespace spillway
