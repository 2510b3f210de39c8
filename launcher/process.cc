// SPDX-License-Identifier: Apache-2.0
#include "spillway/launcher/process.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/close_range.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "absl/strings/str_cat.h"
#include "spillway/launcher/run_options.h"

namespace spillway {
namespace {

// Everything the child needs, made before it exists: between vfork and exec it may only make
// system calls, because it shares the parent's memory.
struct ChildPlan
{
  const char* path;
  char* const* argv;
  char* const* environment;
  int null_fd;
  int stdout_fd;
  int stderr_fd;
  int error_fd;
  pid_t parent;
};

[[noreturn]] void run_child(const ChildPlan& plan)
{
  setpgid(0, 0);
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (getppid() != plan.parent) _exit(127);  // the parent died before the line above
  struct sigaction plain = {};
  plain.sa_handler = SIG_DFL;
  for (int number = 1; number < NSIG; ++number) sigaction(number, &plain, nullptr);
  sigset_t none;
  sigemptyset(&none);
  sigprocmask(SIG_SETMASK, &none, nullptr);
  dup2(plan.null_fd, 0);
  dup2(plan.stdout_fd, 1);
  dup2(plan.stderr_fd, 2);
  syscall(SYS_close_range, 3U, ~0U, static_cast<unsigned>(CLOSE_RANGE_CLOEXEC));
  execve(plan.path, plan.argv, plan.environment);
  const int error = errno;
  [[maybe_unused]] const ssize_t written = write(plan.error_fd, &error, sizeof error);
  _exit(127);
}

std::vector<char*> pointers_to(const std::vector<std::string>& strings)
{
  std::vector<char*> pointers;
  for (const std::string& text : strings) pointers.push_back(const_cast<char*>(text.c_str()));
  pointers.push_back(nullptr);
  return pointers;
}

absl::Status exec_error(const std::string& path, int error)
{
  if (error == ENOENT)
  {
    return absl::NotFoundError(absl::StrCat(
        path, ": cannot be started; it, or the interpreter in its first line, does not exist"));
  }
  if (error == ENOEXEC)
  {
    return absl::PermissionDeniedError(absl::StrCat(
        path, ": is not a program of this machine, and its first line names no interpreter (#!)"));
  }
  if (error == EACCES)
    return absl::PermissionDeniedError(
        absl::StrCat(path, ": may not be executed; try chmod +x ", path));
  return absl::ResourceExhaustedError(absl::StrCat(path, ": cannot be started: ", strerror(error)));
}

absl::Status no_process(absl::string_view what)
{
  return absl::ResourceExhaustedError(absl::StrCat(
      "no new process: ", what, ": ", strerror(errno),
      "; look at the limits on processes (ulimit -u), descriptors (ulimit -n) and memory"));
}

}  // namespace

std::string ExitReason::describe() const
{
  if (how == How::kExited) return absl::StrCat("exited with code ", number);
  return absl::StrCat("was killed by ", signal_name(number), dumped_core ? " (core dumped)" : "");
}

absl::StatusOr<ChildProcess> spawn(const SpawnRequest& request)
{
  int ends[2];
  if (pipe2(ends, O_CLOEXEC) != 0) return no_process("pipe");
  Descriptor error_read(ends[0]), error_write(ends[1]);
  Descriptor null(open("/dev/null", O_RDONLY | O_CLOEXEC));
  const std::vector<char*> argv = pointers_to(request.argv);
  const std::vector<char*> environment = pointers_to(request.environment);
  const ChildPlan plan{request.argv[0].c_str(), argv.data(),       environment.data(), null.get(),
                       request.stdout_fd,       request.stderr_fd, error_write.get(),  getpid()};
  // With every signal blocked no handler of ours can run in the child, on our memory.
  sigset_t all, before;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  const pid_t pid = vfork();  // unlike fork it runs no handlers of libraries and copies no tables
  if (pid == 0) run_child(plan);
  const int fork_error = errno;
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
  errno = fork_error;
  if (pid < 0) return no_process("vfork");
  error_write.reset();
  int error = 0;
  if (read(error_read.get(), &error, sizeof error) == static_cast<ssize_t>(sizeof error))
  {
    waitpid(pid, nullptr, 0);
    return exec_error(request.argv[0], error);
  }
  ChildProcess child{pid, Descriptor(static_cast<int>(syscall(SYS_pidfd_open, pid, 0)))};
  if (!child.pidfd.valid())
  {
    const absl::Status status = no_process("pidfd_open");
    kill(-pid, SIGKILL);
    waitpid(pid, nullptr, 0);
    return status;
  }
  return child;
}

std::optional<ExitReason> reap(const ChildProcess& child)
{
  siginfo_t info = {};
  if (waitid(P_PID, static_cast<id_t>(child.pid), &info, WEXITED | WNOHANG | WNOWAIT) != 0 ||
      info.si_pid != child.pid)
    return std::nullopt;
  // While the leader is not reaped its group id cannot belong to anybody else.
  kill(-child.pid, SIGKILL);
  waitpid(child.pid, nullptr, 0);
  ExitReason reason;
  reason.how = info.si_code == CLD_EXITED ? ExitReason::How::kExited : ExitReason::How::kSignaled;
  reason.number = info.si_status;
  reason.dumped_core = info.si_code == CLD_DUMPED;
  return reason;
}

}  // namespace spillway
