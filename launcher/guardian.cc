// SPDX-License-Identifier: Apache-2.0
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "spillway/launcher/process.h"

namespace spillway {
namespace {

// Messages are one pid each: positive adds the group, negative removes it. A pipe delivers writes
// of this size whole and in order.
[[noreturn]] void guard(int fd)
{
  setsid();
  prctl(PR_SET_NAME, "spillway-guard");
  signal(SIGTERM, SIG_IGN);
  signal(SIGINT, SIG_IGN);
  signal(SIGHUP, SIG_IGN);
  // Nobody who waits for the end of the agent's output may wait for us instead.
  const int null = open("/dev/null", O_RDWR);
  for (int standard = 0; standard < 3; ++standard) dup2(null, standard);
  for (int other = 3; other < 256; ++other)
  {
    if (other != fd) close(other);
  }
  std::vector<pid_t> groups;
  for (;;)
  {
    pid_t message = 0;
    const ssize_t got = read(fd, &message, sizeof message);
    if (got < 0 && errno == EINTR) continue;
    if (got != static_cast<ssize_t>(sizeof message)) break;
    if (message > 0)
      groups.push_back(message);
    else
      groups.erase(std::remove(groups.begin(), groups.end(), -message), groups.end());
  }
  for (const pid_t group : groups) kill(-group, SIGKILL);
  _exit(0);
}

}  // namespace

absl::StatusOr<std::unique_ptr<Guardian>> Guardian::create()
{
  int ends[2];
  if (pipe2(ends, O_CLOEXEC) != 0)
    return absl::ResourceExhaustedError(absl::StrCat("no pipe: ", strerror(errno)));
  const pid_t pid = fork();
  if (pid < 0)
  {
    close(ends[0]);
    close(ends[1]);
    return absl::ResourceExhaustedError(absl::StrCat("no process: fork: ", strerror(errno)));
  }
  if (pid == 0)
  {
    close(ends[1]);
    guard(ends[0]);
  }
  close(ends[0]);
  return std::unique_ptr<Guardian>(new Guardian(Descriptor(ends[1]), pid));
}

Guardian::~Guardian()
{
  pipe_.reset();
  waitpid(pid_, nullptr, 0);
}

void Guardian::add(pid_t group)
{
  // A guardian that was killed costs protection, not the job; SIGPIPE is ignored in the agent.
  [[maybe_unused]] const ssize_t written = write(pipe_.get(), &group, sizeof group);
}

void Guardian::remove(pid_t group)
{
  const pid_t message = -group;
  [[maybe_unused]] const ssize_t written = write(pipe_.get(), &message, sizeof message);
}

}  // namespace spillway
