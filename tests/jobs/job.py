# SPDX-License-Identifier: Apache-2.0
"""A job of real processes, started by `spillway run`, disturbed on purpose and read from its event logs."""
import ctypes
import os
import pathlib
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import uuid

from events import EventLog, breaches, judge
from processes import WrongAnswer, boot_ns, command_line, descendants, kill_all, marked, running, send, until

MARKER = "SPILLWAY_TEST_JOB"


LIBC = ctypes.CDLL(None)
PR_SET_PDEATHSIG = 1


def die_with_parent():
    """Between fork and exec: whoever is started does not outlive us, whatever ends us."""
    LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Job:
    """Used in a `with` statement: nothing that it started outlives it, and a failure shows the ends of its logs."""

    def __init__(self, spillway, program, flags=None, environment=None):
        self._folder = pathlib.Path(tempfile.mkdtemp(prefix="spillway-job-"))
        self.logs = self._folder / "events"
        self.logs.mkdir()
        self.log = EventLog(self.logs)
        self._marker = f"{MARKER}={uuid.uuid4()}"
        self._spillway, self._program = spillway, program
        self._environment = dict(os.environ, SPILLWAY_EVENT_LOG_DIR=str(self.logs), OMP_NUM_THREADS="1",
                                 SPILLWAY_RUNTIME_DIR=str(self._folder)) | (environment or {})
        self._environment.update([self._marker.split("=")])
        self._outputs = []
        self.agents = []
        self.others = []  # processes beside the agents: a coordinator
        self.ended_on_purpose = set()  # agents, by index, whose end is no surprise
        if flags is not None:
            self.start_agent(flags)

    @property
    def folder(self):
        return self._folder

    def set_program(self, program):
        """Before the first agent starts."""
        self._program = program

    def start(self, arguments, environment=None):
        """Starts `spillway ARGUMENTS`; its output goes to a file that a failure shows."""
        self._outputs.append(self._folder / f"{arguments[0]}-{len(self._outputs)}.log")
        with open(self._outputs[-1], "wb") as output:
            process = subprocess.Popen([self._spillway, *arguments], env=dict(self._environment, **(environment or {})),
                                       stdout=output, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, cwd=self._folder,
                                       preexec_fn=die_with_parent, start_new_session=True)
        process.output = self._outputs[-1]
        return process

    def start_agent(self, flags, environment=None, program=None):
        self.agents.append(self.start(["run", *flags, *(program or self._program)], environment))
        return self.agents[-1]

    def start_other(self, arguments, environment=None):
        self.others.append(self.start(arguments, environment))
        return self.others[-1]

    def output(self, process=None):
        """What an agent (the first) or another process has printed so far, its workers' lines included."""
        return (process or self.agents[0]).output.read_text(errors="replace")

    def __enter__(self):
        return self

    def __exit__(self, kind, error, _):
        if kind is not None and issubclass(kind, Exception):
            self.show_ends(error)
        try:
            self.kill()
        finally:
            if "SPILLWAY_TEST_KEEP" in os.environ:
                print(f"kept: {self._folder}")
            else:
                shutil.rmtree(self._folder, ignore_errors=True)

    def show_ends(self, error):
        print(f"--- {error}")
        for path in self._outputs:
            lines = path.read_text(errors="replace").splitlines()
            print(f"--- the last of {len(lines)} lines of {path.name}", *lines[-40:], sep="\n")
        for path in sorted(self.logs.glob("worker-*.jsonl")):
            print(f"--- the end of {path.name}", *path.read_text(errors="replace").splitlines()[-4:], sep="\n")
        sys.stdout.flush()

    def kill(self):
        """kill -9 of everything: first whoever starts processes is stopped, then all die at once."""
        roots = self.agents + self.others
        for root in roots:
            root.send_signal(signal.SIGSTOP)
        alive = {pid for root in roots if root.returncode is None for pid in descendants(root.pid)}
        for root in roots:
            root.kill()
            root.wait()
        kill_all(alive | set(marked(self._marker.encode())))

    def left_behind(self):
        """Command lines of the processes of this job that run although every agent has ended."""
        return [f"{pid}: {command_line(pid)}" for pid in marked(self._marker.encode())]

    def until(self, condition, what, timeout_s=60):
        """As until(); an agent that ends before is a wrong answer at once, with the last that it said."""
        def true_or_over():
            over = [i for i, agent in enumerate(self.agents) if i not in self.ended_on_purpose and agent.poll() is not None]
            result = condition()  # after the look at the agents: their logs are complete
            if over and not result:
                agent, words = self.agents[over[0]], what() if callable(what) else what
                last = self.output(agent).strip().splitlines()[-1:]
                raise WrongAnswer(f"agent {over[0]} ended with {agent.returncode} before {words}: {last}")
            return result
        return until(true_or_over, what, timeout_s)

    def wait_end(self, timeout_s=60, codes=None):
        """Until all agents have ended by themselves; checks their codes (0; or one, or a set each) and that nothing is left."""
        wanted = [code if isinstance(code, set) else {code} for code in codes or [0] * len(self.agents)]
        until(lambda: all(agent.poll() is not None for agent in self.agents),
              lambda: f"the end of agents {[i for i, a in enumerate(self.agents) if a.returncode is None]}", timeout_s)
        ended = [agent.returncode for agent in self.agents]
        if not all(code in allowed for code, allowed in zip(ended, wanted, strict=True)):
            raise WrongAnswer(f"the agents ended with {ended}, not {wanted}")
        for other in self.others:
            other.kill()
            other.wait()
        until(lambda: not self.left_behind(), lambda: f"the end of {self.left_behind()}", 5)

    def verdict(self, check_log):
        """The report on the event logs; a breach of an invariant is a wrong answer."""
        report = judge(check_log, self.logs)
        if found := breaches(report):
            raise WrongAnswer("; ".join(found))
        return report

    def workers(self, agent=0):
        """Pids of the training processes of one agent."""
        found = []
        for pid in descendants(self.agents[agent].pid):
            try:
                environment = pathlib.Path(f"/proc/{pid}/environ").read_bytes()
                command = pathlib.Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")[0].decode()
            except OSError:
                continue
            if b"SPILLWAY_SLOT=" in environment and command == self._program[0]:
                found.append(pid)
        return found

    def worker_pids(self):
        """{worker id: pid} of all agents' workers, told by the event log that a process holds open."""
        found = {}
        for agent in range(len(self.agents)):
            for pid in self.workers(agent):
                try:
                    links = [os.readlink(fd) for fd in pathlib.Path(f"/proc/{pid}/fd").iterdir()]
                except OSError:
                    continue
                for name in links:
                    if name.startswith(str(self.logs) + "/worker-"):
                        found[int(pathlib.Path(name).stem.split("-")[1])] = pid
        return found

    def pid_of(self, worker):
        return self.until(lambda: self.worker_pids().get(worker), f"a process of worker {worker}", 10)

    def wait_steady(self, members, steps=8, timeout_s=90):
        """Waits until `members` workers have each applied some steps under one number, the newest."""
        def steady():
            found = self.log.counts()
            enough = len(found) == members and min(found.values()) >= steps
            return found if enough and set(found) <= set(self.worker_pids()) else None  # who was just killed counts no more
        return set(self.until(steady, lambda: f"a steady job of {members} workers (steps in the newest number: {self.log.counts()})", timeout_s))

    def wait_step(self, step, timeout_s=60):
        self.until(lambda: self.log.step() >= step, lambda: f"step {step} (now {self.log.step()})", timeout_s)

    def wait_applied_after(self, after_ns, what="a step", timeout_s=60, number_above=-1):
        """The first step applied after a time."""
        return self.until(lambda: self.log.applied(after_ns, number_above), what, timeout_s)[0]

    def kill_one(self):
        """kill -9 of a worker. Returns (ms to the survivors' next applied step, ms to the replacement's first, when)."""
        before, known = self.log.number(), {e["worker"] for e in self.log.read()}
        victim = self.workers()[-1]
        killed_ns = boot_ns()
        send(victim, signal.SIGKILL)
        survivor = self.until(lambda: [e for e in self.log.applied(killed_ns, before) if e["worker"] in known], "a step after the kill")[0]
        joiner = self.until(lambda: [e for e in self.log.applied(killed_ns) if e["worker"] not in known], "a replacement's step")[0]
        return (survivor["t_ns"] - killed_ns) / 1e6, (joiner["t_ns"] - killed_ns) / 1e6, survivor["t_ns"]

    def change(self, disturb, members, settle_s=3.0):
        """Disturbs the job without a fault. Returns (longest extra step of those who stay in ms, aborted steps)."""
        start_ns = boot_ns()
        self.until(lambda: boot_ns() - start_ns > settle_s * 1e9, "time before the change", settle_s + 5)
        usual = statistics.median(self.log.step_ms(start_ns, boot_ns()))
        stay = self.log.workers(start_ns)
        changed_ns = boot_ns()
        disturb()
        self.until(lambda: len(self.log.workers(boot_ns() - int(4e6 * usual))) == members, f"{members} members", 90)
        self.wait_steady(members, 3)
        end_ns = boot_ns()
        worst = 0.0
        for worker in stay & self.log.workers(end_ns - int(5e6 * usual)):
            worst = max(worst, max(self.log.step_ms(changed_ns - int(usual * 1e6), end_ns, worker), default=0.0))
        return worst - usual, len(self.log.aborted(changed_ns))
