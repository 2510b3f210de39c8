# SPDX-License-Identifier: Apache-2.0
"""What a benchmark row is made of: samples of ours and of a baseline, taken in turn, and what is asked of them."""
import dataclasses
import json
import os
import pathlib
import platform
import statistics
import subprocess
import sys
from typing import Callable

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests/jobs"))  # jobs of real processes, shared with the tests

from processes import WrongAnswer  # noqa: E402
LEAST_REPETITIONS = 5


class Skipped(Exception):
    """The row cannot be measured on this machine, and why."""


@dataclasses.dataclass
class Samples:
    ours: list
    baseline: list = dataclasses.field(default_factory=list)
    note: str = ""

    @property
    def value(self):
        return statistics.median(self.ours)

    @property
    def baseline_value(self):
        return statistics.median(self.baseline) if self.baseline else None

    @property
    def ratio(self):
        return self.value / self.baseline_value if self.baseline_value else None


@dataclasses.dataclass(frozen=True)
class Row:
    id: str
    what: str
    unit: str
    target: str  # in words, as printed
    meets: Callable  # Samples -> bool
    measure: Callable  # Bench -> Samples
    baseline: str = ""
    needs_gpu: bool = False


class Bench:
    """What a measurement may use: where programs are, how often to repeat, and results that rows share."""

    def __init__(self, preset="release", repeat=LEAST_REPETITIONS):
        self.bin = ROOT / "build" / preset / "bin"
        self.repeat = max(repeat, LEAST_REPETITIONS)
        self.venv_python = pathlib.Path(os.environ.get("SPILLWAY_VENV", ROOT / ".venv")) / "bin/python"
        self._shared = {}

    def program(self, name):
        path = self.bin / name
        if not path.exists():
            raise Skipped(f"{name} is not built")
        return str(path)

    def shared(self, key, produce):
        """One measurement that several rows read different columns of."""
        if key not in self._shared:
            try:
                self._shared[key] = produce()
            except (Skipped, WrongAnswer) as reason:
                self._shared[key] = reason
        if isinstance(self._shared[key], Exception):
            raise self._shared[key]
        return self._shared[key]

    def interleave(self, ours, baseline=None, unmeasured=0):
        """Runs the two in turn, so that a busy machine slows both. Each call gives one sample."""
        for _ in range(unmeasured):
            ours()
            if baseline:
                baseline()
        samples = Samples([])
        for _ in range(self.repeat):
            samples.ours.append(ours())
            if baseline:
                samples.baseline.append(baseline())
        return samples


def run_json(command, timeout_s=300, env=None):
    """Runs a program and returns the JSON object on its last line of output. Non-zero exit: a wrong answer."""
    full = dict(os.environ, **(env or {}))
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=timeout_s, env=full, check=False)
    except subprocess.TimeoutExpired as late:
        raise WrongAnswer(f"{command[0]} did not end within {timeout_s} s") from late
    lines = [line for line in done.stdout.splitlines() if line.startswith("{")]
    if done.returncode or not lines:
        last = (done.stderr or done.stdout).strip().splitlines()[-1:] or ["no output"]
        raise WrongAnswer(f"{pathlib.Path(command[0]).name} ended with {done.returncode}: {last[0][:200]}")
    return json.loads(lines[-1])


def machine():
    """The machine in one line: enough to tell whether two tables may be compared."""
    model = platform.processor() or platform.machine()
    memory_gib = 0
    with open("/proc/cpuinfo", encoding="utf-8") as lines:
        for line in lines:
            if line.startswith("model name"):
                model = line.split(":", 1)[1].strip()
                break
    with open("/proc/meminfo", encoding="utf-8") as lines:
        memory_gib = round(int(lines.readline().split()[1]) / 2**20)
    gpu = "no GPU"
    if pathlib.Path("/proc/driver/nvidia/gpus").exists():
        gpu = f"{len(list(pathlib.Path('/proc/driver/nvidia/gpus').iterdir()))} GPU"
    load = os.getloadavg()[0]
    return f"{model}, {os.cpu_count()} cores, {memory_gib} GiB, Linux {platform.release()}, {gpu}, load {load:.1f} before"


def has_gpu():
    return pathlib.Path("/proc/driver/nvidia/gpus").exists()
