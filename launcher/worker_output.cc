// SPDX-License-Identifier: Apache-2.0
#include "spillway/launcher/worker_output.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <string.h>
#include <unistd.h>

#include <algorithm>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "spillway/base/log.h"

namespace spillway {
namespace {

constexpr std::size_t kTailLines = 64;
constexpr std::size_t kLineBytesMax = 16384;
// A pipe that polls writable takes this many bytes without blocking.
constexpr std::size_t kPieceBytes = 4096;

}  // namespace

void Console::write(absl::string_view bytes)
{
  if (closed_) return;
  absl::StrAppend(&pending_, bytes);
  flush();
}

bool Console::flush()
{
  std::size_t done = 0;
  while (done < pending_.size() && !closed_)
  {
    pollfd ready{fd_, POLLOUT, 0};
    if (poll(&ready, 1, 0) != 1 || (ready.revents & POLLOUT) == 0)
    {
      if ((ready.revents & (POLLERR | POLLHUP | POLLNVAL)) != 0) closed_ = true;
      break;
    }
    const ssize_t wrote =
        ::write(fd_, pending_.data() + done, std::min(kPieceBytes, pending_.size() - done));
    if (wrote > 0)
      done += static_cast<std::size_t>(wrote);
    else if (wrote < 0 && errno == EAGAIN)
      break;
    // A console on a full disk is dropped like one whose reader is gone.
    else if (wrote < 0 && errno != EINTR)
      closed_ = true;
  }
  if (closed_)
    pending_.clear();
  else
    pending_.erase(0, done);
  return pending_.empty();
}

absl::StatusOr<std::unique_ptr<LogFile>> LogFile::open(const std::string& path)
{
  Descriptor fd(::open(path.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644));
  if (!fd.valid())
    return absl::ResourceExhaustedError(
        absl::StrCat("log ", path, " cannot be opened: ", strerror(errno)));
  return std::make_unique<LogFile>(path, std::move(fd));
}

LogFile::~LogFile()
{
  if (dropped_bytes_ > 0) log_warning("log ", path_, ": ", dropped_bytes_, " bytes were lost");
}

void LogFile::write(absl::string_view bytes)
{
  while (!bytes.empty())
  {
    const ssize_t wrote = ::write(fd_.get(), bytes.data(), bytes.size());
    if (wrote < 0 && errno == EINTR) continue;
    if (wrote <= 0)
    {
      if (!failing_)
        log_error("ALARM: log ", path_, " cannot be written: ", strerror(errno),
                  "; training goes on, its lines are lost until there is room");
      failing_ = true;
      dropped_bytes_ += bytes.size();
      return;
    }
    if (failing_)
      log_warning("log ", path_, " is written again; lost so far: ", dropped_bytes_, " bytes");
    failing_ = false;
    bytes.remove_prefix(static_cast<std::size_t>(wrote));
  }
}

void WorkerOutput::take(absl::string_view bytes)
{
  if (plan_.file) plan_.file->write(bytes);
  // Without a prefix bytes are passed on as they come, so that progress bars move.
  if (plan_.console != nullptr && plan_.line_prefix.empty()) plan_.console->write(bytes);
  while (!bytes.empty())
  {
    const std::size_t end = bytes.find('\n');
    absl::StrAppend(&partial_, bytes.substr(0, end));
    const bool ended = end != absl::string_view::npos;
    if (ended || partial_.size() > kLineBytesMax)
    {
      take_line(partial_, ended);
      partial_.clear();
    }
    if (!ended) return;
    bytes.remove_prefix(end + 1);
  }
}

void WorkerOutput::take_line(absl::string_view line, bool ended)
{
  if (plan_.console != nullptr && !plan_.line_prefix.empty())
    plan_.console->write(absl::StrCat(plan_.line_prefix, line, "\n"));
  const auto chosen = [&](const std::string& filter) { return absl::StrContains(line, filter); };
  if (plan_.filtered && std::any_of(plan_.filters.begin(), plan_.filters.end(), chosen))
    plan_.filtered->write(absl::StrCat(line, ended ? "\n" : ""));
  tail_.emplace_back(line.substr(0, 1024));
  if (tail_.size() > kTailLines) tail_.pop_front();
}

void WorkerOutput::finish()
{
  if (partial_.empty()) return;
  take_line(partial_, false);
  partial_.clear();
}

std::vector<std::string> WorkerOutput::last_lines(std::size_t lines_max) const
{
  const std::size_t count = std::min(lines_max, tail_.size());
  return {tail_.end() - static_cast<std::ptrdiff_t>(count), tail_.end()};
}

std::string line_prefix(const std::string& pattern, const PrefixFields& fields)
{
  const std::string text = pattern.empty() ? "[${role_name}${local_rank}]:" : pattern;
  return absl::StrReplaceAll(text, {{"${role_name}", fields.role},
                                    {"$role_name", fields.role},
                                    {"${local_rank}", absl::StrCat(fields.local_rank)},
                                    {"$local_rank", absl::StrCat(fields.local_rank)},
                                    {"${rank}", absl::StrCat(fields.rank)},
                                    {"$rank", absl::StrCat(fields.rank)},
                                    {"$pid", "${pid}"}});
}

}  // namespace spillway
