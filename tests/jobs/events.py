# SPDX-License-Identifier: Apache-2.0
"""The event logs that workers write while they run, read as they grow, and the judgement of whole ones."""
import bisect
import json
import subprocess

from processes import WrongAnswer


class EventLog:
    """All events of one job so far, in the order of their times."""

    def __init__(self, folder):
        self.folder = folder
        self._offsets = {}
        self._events = []
        self._number, self._step = 0, 0
        self._number_since_ns = {}  # by number: when a step was first applied under it

    def read(self):
        fresh = []
        for path in self.folder.glob("worker-*.jsonl"):
            offset = self._offsets.get(path, 0)
            if path.stat().st_size == offset:
                continue
            with open(path, "rb") as file:
                file.seek(offset)
                data = file.read()
            whole = data.rfind(b"\n") + 1  # a line that is being written, or was cut by a kill, waits
            self._offsets[path] = offset + whole
            fresh += [json.loads(line) for line in data[:whole].splitlines()]
        for event in fresh:
            if event["event"] == "applied":
                self._number = max(self._number, event["number"])
                self._step = max(self._step, event["step"])
                first = self._number_since_ns.setdefault(event["number"], event["t_ns"])
                self._number_since_ns[event["number"]] = min(first, event["t_ns"])
        if fresh:
            self._events += fresh
            self._events.sort(key=lambda event: event["t_ns"])  # nearly sorted: cheap
        return self._events

    def since(self, after_ns, kind=None):
        events = self.read()
        begin = bisect.bisect_right(events, after_ns, key=lambda event: event["t_ns"])
        return [event for event in events[begin:] if kind in (None, event["event"])]

    def applied(self, after_ns=0, number_above=-1):
        return [e for e in self.since(after_ns, "applied") if e["number"] > number_above]

    def number(self):
        """The highest number under which a step was applied."""
        self.read()
        return self._number

    def step(self):
        """The highest applied step."""
        self.read()
        return self._step

    def counts(self):
        """{worker id: steps applied} under the newest number."""
        number, found = self.number(), {}
        for event in self.applied(self._number_since_ns.get(number, 1) - 1, number - 1):
            found[event["worker"]] = found.get(event["worker"], 0) + 1
        return found

    def workers(self, since_ns=0):
        """Ids of the workers that applied a step since then."""
        return {e["worker"] for e in self.applied(since_ns)}

    def aborted(self, since_ns=0):
        return self.since(since_ns, "aborted")

    def members(self, number):
        """Ids of the members of a number, as whoever entered it wrote them down."""
        return next((set(e["members"]) for e in self.read() if e["event"] == "epoch" and e["number"] == number), set())

    def step_ms(self, begin_ns, end_ns, worker=None):
        """Times between steps that one worker applied, in [begin, end]."""
        times = {}
        for event in self.applied(begin_ns):
            if event["t_ns"] <= end_ns and worker in (None, event["worker"]):
                times.setdefault(event["worker"], []).append(event["t_ns"])
        return [(b - a) / 1e6 for one in times.values() for a, b in zip(one, one[1:])]

    def longest_pause_ms(self, begin_ns, end_ns):
        """The longest time in [begin, end] during which nobody applied a step."""
        times = [begin_ns] + [e["t_ns"] for e in self.applied(begin_ns) if e["t_ns"] <= end_ns] + [end_ns]
        return max((b - a) / 1e6 for a, b in zip(times, times[1:]))


def judge(check_log, folder):
    """What spillway_check_log says about a folder of logs: its report, whether good or bad."""
    done = subprocess.run([check_log, str(folder), "--json"], capture_output=True, text=True, timeout=120, check=False)
    if done.returncode not in (0, 1) or not done.stdout.startswith("{"):
        raise WrongAnswer(f"spillway_check_log ended with {done.returncode}: {done.stderr.strip()[-400:]}")
    return json.loads(done.stdout)


def breaches(report):
    """What a report has that no run may have, in words; empty when all is well."""
    found = [f"{key} is {report[key]}" for key in ("samples_lost", "samples_doubled") if report[key]]
    if not report["replicas_equal"]:
        found.append("replicas differ")
    if not report["steps_applied"]:
        found.append("no step was applied")
    return found + [f"{f['invariant']}: {f['what']}" for f in report["findings"][:8]]
