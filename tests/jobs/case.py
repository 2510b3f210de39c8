# SPDX-License-Identifier: Apache-2.0
"""What the tests of whole jobs have in common: where the programs are, how a job is started, ended and judged."""
import os
import pathlib
import re
import signal
import sys
import unittest

from job import Job, free_port
from processes import WrongAnswer, boot_ns, send, until

ROOT = pathlib.Path(__file__).resolve().parents[2]
BIN = pathlib.Path(os.environ.get("SPILLWAY_BIN_DIR", ROOT / "build/release/bin"))
STEP_MS = 5
FOREVER = 1000000  # steps; such a job ends when its stop file appears


class Coordinator:
    """`spillway coordinator` on a port of its own, with a store that outlives it."""

    def __init__(self, job, flags=(), environment=None):
        self._job, self._flags = job, list(flags)
        self.port = free_port()
        self.endpoint = f"127.0.0.1:{self.port}"
        self.store = job.folder / "coordinator.db"
        self.start(environment)

    def start(self, environment=None):
        self.process = self._job.start_other(
            ["coordinator", "--listen", self.endpoint, "--store", str(self.store), *self._flags], environment)
        # An agent that finds nobody at an endpoint of its host becomes the coordinator itself.
        until(lambda: self.dead() or "listens on" in self._job.output(self.process), "a coordinator that listens", 20)
        return self.process

    def kill(self):
        self.process.kill()
        self.process.wait()

    def dead(self):
        return self.process.poll() is not None


class JobCase(unittest.TestCase):
    maxDiff = None

    def program(self, name):
        path = BIN / name
        if not path.exists():
            self.fail(f"{path} is not built")
        return str(path)

    def port(self):
        return free_port()

    def toy(self, *flags, steps=FOREVER, step_ms=STEP_MS):
        return [self.program("toy_worker"), "--steps", str(steps), "--step-ms", str(step_ms), *map(str, flags)]

    def job(self, program=None, environment=None):
        return Job(self.program("spillway"), program, None, environment)

    def toy_job(self, flags=(), environment=None):
        """A job, not started yet, of toy workers that train until stop()."""
        job = self.job(None, environment)
        job.stop_file = job.folder / "stop"
        job.set_program(self.toy("--stop-file", job.stop_file, *flags))
        return job

    def standalone(self, workers, toy_flags=(), environment=None, flags=()):
        """A toy job of one agent."""
        job = self.toy_job(toy_flags, environment)
        job.start_agent(["--standalone", "--nproc-per-node", str(workers), *flags])
        return job

    def several_nodes(self, nodes, flags=(), environment=None, coordinator_flags=(), coordinator_environment=None):
        """A toy job with a coordinator of its own. `nodes`: workers of each agent that starts now; more may come."""
        job = self.toy_job((), environment)
        job.coordinator = Coordinator(job, coordinator_flags, coordinator_environment)
        job.node_flags = list(flags)
        for workers in nodes:
            self.add_node(job, workers)
        return job

    def add_node(self, job, workers, environment=None, nnodes="1:64"):
        return job.start_agent(["--nnodes", nnodes, "--nproc-per-node", str(workers), "--rdzv-id", "test", "--rdzv-endpoint",
                                job.coordinator.endpoint, *job.node_flags], environment)

    def stop(self, job, timeout_s=30, codes=None):
        """Ends a job of toy workers as their loop would, and judges it."""
        job.stop_file.touch()
        return self.end(job, timeout_s, codes)

    def end(self, job, timeout_s=60, codes=None):
        """Waits for the job's own end; then nothing may run any more and the logs must be without a breach."""
        job.wait_end(timeout_s, codes)
        return job.verdict(self.program("spillway_check_log"))

    def measured(self, **values):
        name = self.id().rsplit(".", 1)[-1]
        words = (f"{key}={value:.1f}" if isinstance(value, float) else f"{key}={value}" for key, value in values.items())
        print(f"measured {name}: {', '.join(words)}", flush=True)

    def assert_said(self, job, pattern, process=None, timeout_s=10):
        """Somebody's output has a line that matches."""
        until(lambda: re.search(pattern, job.output(process)), f"a line like '{pattern}'", timeout_s)

    def killed_workers(self, job):
        """How many of its workers the first agent reported as killed by SIGKILL."""
        return len(re.findall(r"worker \(pid \d+\).*SIGKILL", job.output()))


def main():
    unittest.main(module="__main__", verbosity=2, argv=[sys.argv[0], *sys.argv[1:]])
