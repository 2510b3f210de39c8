// SPDX-License-Identifier: Apache-2.0
#include "spillway/launcher/supervisor.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/signalfd.h>
#include <sys/wait.h>

#include <algorithm>
#include <array>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "spillway/base/check.h"
#include "spillway/base/log.h"
#include "spillway/base/status.h"
#include "spillway/launcher/process_state.h"

namespace spillway {
namespace {

using std::chrono::milliseconds;

// What became ready: slot * 4 + one of these, or one of the two fixed keys.
enum Source : std::uint64_t
{
  kOutput = 0,
  kError = 1,
  kExit = 2
};
constexpr std::uint64_t kSignalKey = ~0ULL;
constexpr std::uint64_t kWakeKey = ~0ULL - 1;
// While a console holds bytes back it is tried again this often.
constexpr milliseconds kConsoleRetry{20};

std::uint64_t key_of(int slot, int source)
{
  return static_cast<std::uint64_t>(slot) * 4 + static_cast<std::uint64_t>(source);
}

absl::Status failed(absl::string_view what)
{
  return absl::ResourceExhaustedError(absl::StrCat("supervisor: ", what, ": ", strerror(errno)));
}

}  // namespace

absl::StatusOr<std::unique_ptr<Supervisor>> Supervisor::create(SupervisorOptions options,
                                                               const Clock& clock)
{
  std::unique_ptr<Supervisor> self(new Supervisor(std::move(options), clock));
  SPILLWAY_RETURN_IF_ERROR(self->open());
  return self;
}

absl::Status Supervisor::open()
{
  // A closed console or a full disk is an error code for us, never the end of the agent.
  signal(SIGCHLD, SIG_DFL);  // ignored, as some parents leave it, it would take the exits away
  signal(SIGPIPE, SIG_IGN);
  signal(SIGXFSZ, SIG_IGN);
  SPILLWAY_ASSIGN_OR_RETURN(guardian_, Guardian::create());
  sigset_t wanted;
  sigemptyset(&wanted);
  for (const int number : options_.signals) sigaddset(&wanted, number);
  pthread_sigmask(SIG_BLOCK, &wanted, nullptr);
  epoll_ = Descriptor(epoll_create1(EPOLL_CLOEXEC));
  signals_ = Descriptor(signalfd(-1, &wanted, SFD_NONBLOCK | SFD_CLOEXEC));
  wake_ = Descriptor(eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC));
  if (!epoll_.valid() || !signals_.valid() || !wake_.valid()) return failed("no descriptor");
  if (!watch(signals_.get(), kSignalKey) || !watch(wake_.get(), kWakeKey)) return failed("epoll");
  return absl::OkStatus();
}

Supervisor::~Supervisor()
{
  for (auto& [slot, worker] : workers_) ::kill(-worker.process.pid, SIGKILL);
  for (auto& [slot, worker] : workers_)
  {
    siginfo_t info = {};
    // SIGKILL cannot be refused, so this ends; a process in uninterruptible sleep is the kernel's.
    waitid(P_PID, static_cast<id_t>(worker.process.pid), &info, WEXITED | WNOWAIT);
    reap(worker.process);
  }
}

bool Supervisor::watch(int fd, std::uint64_t key)
{
  epoll_event event = {};
  event.events = EPOLLIN;
  event.data.u64 = key;
  return epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, fd, &event) == 0;
}

absl::StatusOr<pid_t> Supervisor::start(WorkerLaunch launch)
{
  SPILLWAY_CHECK(!workers_.contains(launch.slot), "slot ", launch.slot, " already has a process");
  std::array<Descriptor, 2> read_ends, write_ends;
  Worker worker;
  for (int which = 0; which < 2; ++which)
  {
    int ends[2];
    if (pipe2(ends, O_CLOEXEC) != 0) return failed("no pipe for a worker's output");
    fcntl(ends[0], F_SETFL, O_NONBLOCK);
    write_ends[static_cast<std::size_t>(which)] = Descriptor(ends[1]);
    read_ends[static_cast<std::size_t>(which)] = Descriptor(ends[0]);
  }
  SpawnRequest request{std::move(launch.argv), std::move(launch.environment), write_ends[0].get(),
                       write_ends[1].get()};
  SPILLWAY_ASSIGN_OR_RETURN(worker.process, spawn(request));
  const pid_t pid = worker.process.pid;
  guardian_->add(pid);
  bool watched = watch(worker.process.pidfd.get(), key_of(launch.slot, kExit));
  for (int which = 0; which < 2; ++which)
  {
    OutputPlan plan = which == 0 ? launch.out : launch.err;
    plan.line_prefix = absl::StrReplaceAll(plan.line_prefix, {{"${pid}", absl::StrCat(pid)}});
    worker.streams[which].reset(new Stream{std::move(read_ends[static_cast<std::size_t>(which)]),
                                           WorkerOutput(std::move(plan))});
    watched = watch(worker.streams[which]->fd.get(), key_of(launch.slot, which)) && watched;
  }
  workers_.emplace(launch.slot, std::move(worker));
  if (!watched) kill(launch.slot);
  return pid;
}

void Supervisor::stop(int slot)
{
  const auto found = workers_.find(slot);
  if (found == workers_.end() || found->second.stopping) return;
  Worker& worker = found->second;
  worker.stopping = true;
  // Only the worker itself hears it: its data loaders are its own to end, and their group is
  // killed when it is gone.
  ::kill(worker.process.pid, SIGTERM);
  ::kill(worker.process.pid, SIGCONT);
  worker.kill_at =
      std::min(worker.kill_at, deadline_after(clock_.now(), options_.shutdown_timeout));
}

void Supervisor::kill(int slot, Duration delay)
{
  const auto found = workers_.find(slot);
  if (found == workers_.end()) return;
  found->second.kill_at = std::min(found->second.kill_at, deadline_after(clock_.now(), delay));
  if (delay <= Duration::zero()) kill_now(found->second);
}

void Supervisor::kill_now(Worker& worker)
{
  worker.forced = true;
  ::kill(-worker.process.pid, SIGKILL);
}

void Supervisor::watch_state(int slot, pid_t pid)
{
  const auto found = workers_.find(slot);
  if (found != workers_.end() && pid != found->second.process.pid) found->second.inner = pid;
}

pid_t Supervisor::pid_of(int slot) const
{
  const auto found = workers_.find(slot);
  return found == workers_.end() ? 0 : found->second.process.pid;
}

void Supervisor::wake()
{
  const std::uint64_t one = 1;
  [[maybe_unused]] const ssize_t written = write(wake_.get(), &one, sizeof one);
}

int Supervisor::wait_ms(MonotonicTime deadline) const
{
  MonotonicTime until = deadline;
  if (!workers_.empty()) until = std::min(until, next_look_);
  const MonotonicTime now = clock_.now();
  if (!console_out_.idle() || !console_err_.idle()) until = std::min(until, now + kConsoleRetry);
  for (const auto& [slot, worker] : workers_) until = std::min(until, worker.kill_at);
  if (until <= now) return 0;
  const auto left = std::chrono::ceil<milliseconds>(until - now);
  return static_cast<int>(std::min<milliseconds::rep>(left.count(), 1000));
}

std::vector<SupervisorEvent> Supervisor::wait(MonotonicTime deadline)
{
  std::vector<SupervisorEvent> events;
  do {
    std::array<epoll_event, 32> ready;
    const int count = epoll_wait(epoll_.get(), ready.data(), ready.size(), wait_ms(deadline));
    std::vector<int> ended;
    for (int i = 0; i < count; ++i)
    {
      const std::uint64_t key = ready[static_cast<std::size_t>(i)].data.u64;
      const int slot = static_cast<int>(key / 4);
      if (key == kSignalKey)
        read_signals(events);
      else if (key == kWakeKey)
      {
        std::uint64_t times = 0;
        [[maybe_unused]] const ssize_t got = read(wake_.get(), &times, sizeof times);
        events.emplace_back(Woken{});
      }
      else if (key % 4 == kExit)
        ended.push_back(slot);
      else if (const auto found = workers_.find(slot); found != workers_.end())
        read_stream(found->second, static_cast<int>(key % 4));
    }
    for (const int slot : ended) collect_end(slot, events);
    console_out_.flush();
    console_err_.flush();
    for (auto& [slot, worker] : workers_) pause_or_resume(worker, slot);
    look_at_states(clock_.now(), events);
  } while (events.empty() && clock_.now() < deadline);
  return events;
}

void Supervisor::read_stream(Worker& worker, int which)
{
  Stream* stream = worker.streams[which].get();
  if (stream == nullptr || stream->paused) return;
  std::array<char, 65536> buffer;
  const ssize_t got = read(stream->fd.get(), buffer.data(), buffer.size());
  if (got > 0)
  {
    stream->output.take(absl::string_view(buffer.data(), static_cast<std::size_t>(got)));
    return;
  }
  if (got < 0 && (errno == EAGAIN || errno == EINTR)) return;
  // The worker closed its end; the lines are kept until it is gone.
  epoll_ctl(epoll_.get(), EPOLL_CTL_DEL, stream->fd.get(), nullptr);
  stream->fd.reset();
  stream->output.finish();
}

void Supervisor::pause_or_resume(Worker& worker, int slot)
{
  for (int which = 0; which < 2; ++which)
  {
    Stream* stream = worker.streams[which].get();
    if (!stream->fd.valid() || stream->paused == stream->output.must_wait()) continue;
    stream->paused = !stream->paused;
    if (stream->paused)
      epoll_ctl(epoll_.get(), EPOLL_CTL_DEL, stream->fd.get(), nullptr);
    else
      watch(stream->fd.get(), key_of(slot, which));
  }
}

void Supervisor::drain(Worker& worker)
{
  for (int which = 0; which < 2; ++which)
  {
    Stream* stream = worker.streams[which].get();
    stream->paused = false;
    // Bounded by what a pipe can hold; whoever inherited the other end may still write.
    for (int i = 0; i < 32 && stream->fd.valid(); ++i)
    {
      read_stream(worker, which);
    }
    if (stream->fd.valid()) epoll_ctl(epoll_.get(), EPOLL_CTL_DEL, stream->fd.get(), nullptr);
    stream->output.finish();
  }
}

void Supervisor::collect_end(int slot, std::vector<SupervisorEvent>& events)
{
  const auto found = workers_.find(slot);
  if (found == workers_.end()) return;
  Worker& worker = found->second;
  const std::optional<ExitReason> reason = reap(worker.process);
  if (!reason) return;
  guardian_->remove(worker.process.pid);
  drain(worker);
  epoll_ctl(epoll_.get(), EPOLL_CTL_DEL, worker.process.pidfd.get(), nullptr);
  events.emplace_back(WorkerEnded{
      slot, worker.process.pid, *reason, worker.streams[0]->output.last_lines(options_.tail_lines),
      worker.streams[1]->output.last_lines(options_.tail_lines), worker.forced});
  workers_.erase(found);
}

void Supervisor::flush_consoles(MonotonicTime deadline)
{
  while (!(console_out_.flush() & console_err_.flush()) && clock_.now() < deadline)
  {
    pollfd wait[2] = {{console_out_.idle() ? -1 : 1, POLLOUT, 0},
                      {console_err_.idle() ? -1 : 2, POLLOUT, 0}};
    poll(wait, 2, 20);
  }
}

void Supervisor::look_at_states(MonotonicTime now, std::vector<SupervisorEvent>& events)
{
  for (auto& [slot, worker] : workers_)
  {
    if (now < worker.kill_at) continue;
    if (worker.stopping)
      log_warning("worker of local rank ", slot, " (pid ", worker.process.pid,
                  ") did not end in time after SIGTERM and is killed");
    worker.kill_at = kForever;
    kill_now(worker);
  }
  if (now < next_look_) return;
  next_look_ = deadline_after(now, options_.state_interval);
  for (auto& [slot, worker] : workers_)
  {
    for (const pid_t pid : {worker.process.pid, worker.inner})
    {
      if (pid == 0 || worker.stop_reported || !read_process_state(pid).stopped()) continue;
      worker.stop_reported = true;
      events.emplace_back(WorkerStopped{slot, pid});
    }
  }
}

void Supervisor::read_signals(std::vector<SupervisorEvent>& events)
{
  signalfd_siginfo info = {};
  while (read(signals_.get(), &info, sizeof info) == static_cast<ssize_t>(sizeof info))
    events.emplace_back(SignalReceived{static_cast<int>(info.ssi_signo)});
}

}  // namespace spillway
