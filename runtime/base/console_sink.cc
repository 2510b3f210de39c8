// SPDX-License-Identifier: Apache-2.0
#include "console_sink.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>

#include "absl/strings/str_cat.h"

namespace spillway {
namespace {

constexpr std::size_t kKeptBytesMax = std::size_t{256} << 10;
// A pipe that has room has it for so much.
constexpr std::size_t kPieceBytes = 4096;

bool has_room(int descriptor, int bound_ms)
{
  pollfd one{descriptor, POLLOUT, 0};
  return poll(&one, 1, bound_ms) > 0;
}

}  // namespace

ConsoleSink::~ConsoleSink()
{
  if (own_ >= 0) close(own_);
}

// Standard error may be another one than at the last line.
void ConsoleSink::look_at_descriptor()
{
  struct stat about = {};
  if (fstat(STDERR_FILENO, &about) != 0) return;
  if (about.st_dev == device_ && about.st_ino == inode_) return;
  device_ = about.st_dev;
  inode_ = about.st_ino;
  if (own_ >= 0) close(own_);
  own_ = -1;
  if (S_ISFIFO(about.st_mode) || S_ISCHR(about.st_mode))
    own_ = open("/proc/self/fd/2", O_WRONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
}

ssize_t ConsoleSink::write_some()
{
  const std::size_t bytes = std::min(kept_.size(), kPieceBytes);
  if (own_ >= 0) return write(own_, kept_.data(), bytes);
  const ssize_t sent = send(STDERR_FILENO, kept_.data(), bytes, MSG_DONTWAIT | MSG_NOSIGNAL);
  if (sent >= 0 || errno != ENOTSOCK) return sent;
  if (!has_room(STDERR_FILENO, 0)) return errno = EAGAIN, -1;
  return write(STDERR_FILENO, kept_.data(), bytes);
}

void ConsoleSink::write_kept()
{
  look_at_descriptor();
  while (!kept_.empty())
  {
    const ssize_t written = write_some();
    if (written > 0)
      kept_.erase(0, static_cast<std::size_t>(written));
    else if (written < 0 && errno == EINTR)
      continue;
    else if (written < 0 && errno == EAGAIN)
      return;
    else
      kept_.clear();  // nobody will ever read it
    if (!kept_.empty() || lost_ == 0) continue;
    kept_ = absl::StrCat("(", lost_, " lines are lost here: nobody read them)\n");
    lost_ = 0;
  }
}

void ConsoleSink::keep(const char* text, std::size_t bytes)
{
  if (kept_.size() + bytes <= kKeptBytesMax && lost_ == 0)
    kept_.append(text, bytes);
  else
    ++lost_;
}

void ConsoleSink::sink_it_(const spdlog::details::log_msg& message)
{
  spdlog::memory_buf_t line;
  formatter_->format(message, line);
  write_kept();
  keep(line.data(), line.size());
  write_kept();
}

void ConsoleSink::finish(int bound_ms)
{
  const std::lock_guard lock(mutex_);
  write_kept();
  // In pieces: each has the whole bound, and without a reader the first one ends it.
  while (!kept_.empty() && has_room(own_ >= 0 ? own_ : STDERR_FILENO, bound_ms)) write_kept();
}

}  // namespace spillway
