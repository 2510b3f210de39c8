// SPDX-License-Identifier: Apache-2.0
#include "coordinator_mark.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "spillway/launcher/descriptor.h"

namespace spillway {
namespace {

constexpr std::size_t kBytesMax = 4096;
constexpr mode_t kReadableByAll = 0644;

std::string path_of(const std::string& folder, uid_t user, int port)
{
  return absl::StrCat(folder, "/spillway-coordinator-", user, "-", port);
}

std::optional<CoordinatorMark> read_mark(const std::string& path, uid_t user, int port)
{
  const Descriptor fd(open(path.c_str(), O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC));
  struct stat about = {};
  if (!fd.valid() || fstat(fd.get(), &about) != 0) return std::nullopt;
  if (!S_ISREG(about.st_mode) || about.st_uid != user) return std::nullopt;
  std::array<char, kBytesMax> bytes;
  const ssize_t got = read(fd.get(), bytes.data(), bytes.size());
  if (got <= 0) return std::nullopt;
  CoordinatorMark mark{.port = port, .pid = 0, .store = {}};
  const absl::string_view text(bytes.data(), static_cast<std::size_t>(got));
  for (absl::string_view line : absl::StrSplit(text, '\n'))
  {
    if (absl::ConsumePrefix(&line, "store ")) mark.store = std::string(line);
    if (absl::ConsumePrefix(&line, "pid ") && !absl::SimpleAtoi(line, &mark.pid))
      return std::nullopt;
  }
  if (mark.store.empty() || mark.pid <= 0) return std::nullopt;
  return mark;
}

}  // namespace

std::string mark_path(const std::string& folder, int port)
{
  return path_of(folder, geteuid(), port);
}

absl::Status leave_mark(const std::string& folder, const CoordinatorMark& mark)
{
  const std::string path = mark_path(folder, mark.port);
  std::string fresh = path + ".XXXXXX";
  const auto failed = [&] {
    return absl::UnavailableError(absl::StrCat("no mark ", path, ": ", strerror(errno)));
  };
  const std::string text = absl::StrCat("pid ", mark.pid, "\nstore ", mark.store, "\n");
  {
    const Descriptor fd(mkostemp(fresh.data(), O_CLOEXEC));
    if (!fd.valid()) return failed();
    if (write(fd.get(), text.data(), text.size()) == static_cast<ssize_t>(text.size()) &&
        fchmod(fd.get(), kReadableByAll) == 0 && rename(fresh.c_str(), path.c_str()) == 0)
      return absl::OkStatus();
  }
  const absl::Status why = failed();
  unlink(fresh.c_str());
  return why;
}

std::optional<CoordinatorMark> find_mark(const std::string& folder, int port)
{
  for (const uid_t user : {geteuid(), uid_t{0}})
    if (auto mark = read_mark(path_of(folder, user, port), user, port)) return mark;
  return std::nullopt;
}

void remove_own_mark(const std::string& folder, int port)
{
  const auto mark = read_mark(mark_path(folder, port), geteuid(), port);
  if (mark && mark->pid == getpid()) unlink(mark_path(folder, port).c_str());
}

}  // namespace spillway
