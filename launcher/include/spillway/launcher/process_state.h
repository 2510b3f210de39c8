// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <sys/types.h>

#include <string>

#include "absl/strings/string_view.h"

namespace spillway {

// What /proc says about a process: 'R', 'S', 'D', 'T' (stopped by a signal), 't' (stopped by a
// tracer), 'Z', or 0 when there is no such process.
struct ProcessState
{
  char state = 0;
  pid_t parent = 0;
  pid_t tracer = 0;
  // Stopped, and not by somebody who looks at it with a debugger: that is not stuck.
  bool stopped() const { return state == 'T' && tracer == 0; }
};

ProcessState read_process_state(pid_t pid, const std::string& proc = "/proc");
// The parts of the above, for tests: the texts of /proc/PID/stat and /proc/PID/status.
ProcessState parse_process_state(absl::string_view stat, absl::string_view status);

// The child of `ancestor` from which `pid` descends, or `pid` itself where there is none: a worker
// may have been started through a script.
pid_t child_that_started(pid_t pid, pid_t ancestor, const std::string& proc = "/proc");

// State, wait channel, system call and kernel stack of each thread, as far as the kernel shows
// them. At most `threads_max` threads; only reads of /proc, so it cannot block on the process.
std::string describe_threads(pid_t pid, int threads_max = 64, const std::string& proc = "/proc");

}  // namespace spillway
