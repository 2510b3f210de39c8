# SPDX-License-Identifier: Apache-2.0
"""Processes of this machine, read from /proc, and the one way to wait for something."""
import os
import pathlib
import signal
import time

POLL_S = 0.01


class WrongAnswer(Exception):
    """Something ran and did not do what it must."""


def boot_ns():
    """The clock of the event logs."""
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME)


def until(condition, what, timeout_s=60):
    """The first true result of condition(); a deadline that passes is a wrong answer."""
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        result = condition()
        if result:
            return result
        time.sleep(POLL_S)
    raise WrongAnswer(f"{what() if callable(what) else what} did not happen within {timeout_s} s")


def descendants(pid):
    found = []
    try:
        files = [f"{task.path}/children" for task in os.scandir(f"/proc/{pid}/task")]
    except OSError:
        return found  # it ended meanwhile
    for name in files:
        try:
            children = [int(word) for word in pathlib.Path(name).read_text().split()]
        except OSError:
            continue
        for child in children:
            found += [child] + descendants(child)
    return found


def state(pid):
    """The letter of /proc/PID/stat; X for a process that is gone."""
    try:
        return pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except OSError:
        return "X"


def running(pid):
    """Whether a process still runs: neither gone nor a zombie that waits to be reaped."""
    return state(pid) not in ("Z", "X")


def marked(marker):
    """Pids of all running processes of this machine whose environment has the entry `marker` (bytes)."""
    found = []
    for folder in pathlib.Path("/proc").iterdir():
        if not folder.name.isdigit():
            continue
        try:
            if marker in (folder / "environ").read_bytes().split(b"\0") and running(int(folder.name)):
                found.append(int(folder.name))
        except OSError:
            continue
    return found


def command_line(pid):
    try:
        return pathlib.Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
    except OSError:
        return "gone"


def send(pid, number):
    """False when the process is gone already."""
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return False
    return True


def kill_all(pids):
    """kill -9 of processes that we started, and the wait for their end."""
    for pid in pids:
        send(pid, signal.SIGKILL)
    until(lambda: not any(running(pid) for pid in pids), lambda: f"the end of {[p for p in pids if running(p)]}", 10)
