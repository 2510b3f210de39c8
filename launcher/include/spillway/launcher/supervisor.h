// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <sys/types.h>

#include <chrono>
#include <map>
#include <memory>
#include <string>
#include <variant>
#include <vector>

#include "absl/status/statusor.h"
#include "spillway/base/clock.h"
#include "spillway/launcher/exit_reason.h"
#include "spillway/launcher/process.h"
#include "spillway/launcher/worker_output.h"

namespace spillway {

struct SupervisorOptions
{
  std::vector<int> signals;  // taken from the process and reported as SignalReceived
  std::chrono::milliseconds shutdown_timeout{30000};
  // How often the workers' states are read: a stopped one is reported within twice this.
  std::chrono::milliseconds state_interval{250};
  std::size_t tail_lines = 20;
};

struct WorkerLaunch
{
  int slot = 0;
  std::vector<std::string> argv;
  std::vector<std::string> environment;
  OutputPlan out;
  OutputPlan err;
};

struct WorkerEnded
{
  int slot = 0;
  pid_t pid = 0;
  ExitReason reason;
  std::vector<std::string> last_stdout;
  std::vector<std::string> last_stderr;
  bool forced = false;  // this supervisor had sent it SIGKILL
};
// Reported once per worker; it is neither killed nor forgotten by that.
struct WorkerStopped
{
  int slot = 0;
  pid_t pid = 0;
};
struct SignalReceived
{
  int number = 0;
};
struct Woken
{
};
using SupervisorEvent = std::variant<WorkerEnded, WorkerStopped, SignalReceived, Woken>;

// Starts processes and watches them: ends, output, stops, signals to the agent. Decides nothing;
// see slot_policy.h for that. Owned and used by one thread, which must live as long as the process
// (the workers die with it); only wake() may be called from another. Its destructor kills what
// still runs, with SIGKILL.
class Supervisor
{
 public:
  // Create before any other thread exists: it blocks the signals and forks the guardian.
  static absl::StatusOr<std::unique_ptr<Supervisor>> create(SupervisorOptions options,
                                                            const Clock& clock);
  ~Supervisor();

  absl::StatusOr<pid_t> start(WorkerLaunch launch);
  // SIGTERM now, SIGKILL to the group after the shutdown timeout. Repeating changes nothing.
  void stop(int slot);
  // SIGKILL to the group once `delay` has passed; the worker may even run again until then.
  void kill(int slot, Duration delay = Duration::zero());
  // Looks for stops of `pid` as well, which the worker of this slot has started.
  void watch_state(int slot, pid_t pid);
  bool running(int slot) const { return workers_.contains(slot); }
  pid_t pid_of(int slot) const;

  // Returns at the first events, or without any at the deadline.
  std::vector<SupervisorEvent> wait(MonotonicTime deadline);
  // Makes wait() return with Woken. Any thread; not a signal handler.
  void wake();

  // Before the agent ends: gives slow readers of its output until the deadline.
  void flush_consoles(MonotonicTime deadline);

  Console& console_out() { return console_out_; }
  Console& console_err() { return console_err_; }

 private:
  struct Stream
  {
    Descriptor fd;
    WorkerOutput output;
    bool paused = false;
  };
  struct Worker
  {
    ChildProcess process;
    pid_t inner = 0;  // of watch_state()
    std::unique_ptr<Stream> streams[2];
    MonotonicTime kill_at = kForever;
    bool stopping = false;
    bool forced = false;
    bool stop_reported = false;
  };

  Supervisor(SupervisorOptions options, const Clock& clock)
      : options_(std::move(options)), clock_(clock)
  {
  }
  absl::Status open();
  bool watch(int fd, std::uint64_t key);
  static void kill_now(Worker& worker);
  void read_stream(Worker& worker, int which);
  void pause_or_resume(Worker& worker, int slot);
  void drain(Worker& worker);
  void collect_end(int slot, std::vector<SupervisorEvent>& events);
  void look_at_states(MonotonicTime now, std::vector<SupervisorEvent>& events);
  void read_signals(std::vector<SupervisorEvent>& events);
  int wait_ms(MonotonicTime deadline) const;

  SupervisorOptions options_;
  const Clock& clock_;
  Descriptor epoll_;
  Descriptor signals_;
  Descriptor wake_;
  std::unique_ptr<Guardian> guardian_;
  std::map<int, Worker> workers_;
  MonotonicTime next_look_{};
  Console console_out_{1};
  Console console_err_{2};
};

}  // namespace spillway
