// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <deque>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "spillway/launcher/descriptor.h"

// Where the bytes go that workers print. The agent stands between a worker and its log file, so
// that a full disk costs log lines and not the training. All of it belongs to the supervisor's
// thread; nothing here blocks.
namespace spillway {

// One of the agent's own two streams. Writes only what the receiver takes without waiting and
// holds the rest up to a bound; who wants to add more has to wait (full()).
class Console
{
 public:
  // Does not own `fd`.
  explicit Console(int fd, std::size_t pending_max = 1 << 20) : fd_(fd), pending_max_(pending_max)
  {
  }
  void write(absl::string_view bytes);
  // Tries again to write what is held. False while something is left.
  bool flush();
  bool full() const { return pending_.size() >= pending_max_; }
  bool idle() const { return pending_.empty(); }

 private:
  int fd_;
  std::size_t pending_max_;
  std::string pending_;
  bool closed_ = false;  // the receiver is gone: everything is dropped from then on
};

// A log file that never makes anybody fail: what cannot be written is counted and dropped, an alarm
// is raised at the first loss and again when writing works once more.
class LogFile
{
 public:
  static absl::StatusOr<std::unique_ptr<LogFile>> open(const std::string& path);
  LogFile(std::string path, Descriptor fd) : path_(std::move(path)), fd_(std::move(fd)) {}
  ~LogFile();
  void write(absl::string_view bytes);
  std::size_t dropped_bytes() const { return dropped_bytes_; }

 private:
  std::string path_;
  Descriptor fd_;
  std::size_t dropped_bytes_ = 0;
  bool failing_ = false;
};

struct OutputPlan
{
  std::shared_ptr<LogFile> file;      // null: no file
  std::shared_ptr<LogFile> filtered;  // null: no copy of chosen lines
  std::vector<std::string> filters;   // substrings that choose a line for `filtered`
  Console* console = nullptr;         // null: not shown
  std::string line_prefix;            // only with a console
};

// One stream of one worker: takes the bytes, keeps the last lines, passes them on as planned.
class WorkerOutput
{
 public:
  explicit WorkerOutput(OutputPlan plan) : plan_(std::move(plan)) {}
  void take(absl::string_view bytes);
  // The stream ended: an unfinished line is passed on.
  void finish();
  bool must_wait() const { return plan_.console != nullptr && plan_.console->full(); }
  // The last lines, at most `lines_max`.
  std::vector<std::string> last_lines(std::size_t lines_max) const;

 private:
  void take_line(absl::string_view line, bool ended);
  OutputPlan plan_;
  std::string partial_;
  std::deque<std::string> tail_;
};

// Replaces ${role_name}, ${local_rank} and ${rank}; ${pid} is left for the supervisor, which knows
// it last. An empty template is torchrun's default, "[${role_name}${local_rank}]:".
struct PrefixFields
{
  std::string role;
  int local_rank = 0;
  int rank = 0;
};
std::string line_prefix(const std::string& pattern, const PrefixFields& fields);

}  // namespace spillway
