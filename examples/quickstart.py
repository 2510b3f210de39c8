# SPDX-License-Identifier: Apache-2.0
"""The demonstration behind quickstart.sh: one job, disturbed in every way that it must survive, and what came of it."""
import argparse
import json
import pathlib
import re
import signal
import statistics
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests/jobs"))

from events import breaches, judge  # noqa: E402
from job import Job, free_port  # noqa: E402
from processes import WrongAnswer, boot_ns, running, send  # noqa: E402

BIN = ROOT / "build/release/bin"
PASSES = "12"
LEAST_ACCURACY = 0.87
PROGRESS_S = 3.0


class Demonstration:
    def __init__(self, job):
        self.job, self.begun = job, time.monotonic()
        self.endpoint = f"127.0.0.1:{free_port()}"
        self.next_progress = self.begun + PROGRESS_S
        self.results = {}

    def say(self, text):
        print(f"{time.monotonic() - self.begun:6.1f} s  {text}", flush=True)

    def progress(self):
        if time.monotonic() < self.next_progress:
            return
        self.next_progress = time.monotonic() + PROGRESS_S
        if not self.job.log.step():
            return  # the workers load libtorch and the data set
        losses = re.findall(r"loss[ =]+([0-9.]+)", self.job.output())
        members = self.job.log.members(self.job.log.number())
        self.say(f"  step {self.job.log.step()}, {len(members)} workers" + (f", loss {losses[-1]}" if losses else ""))

    def wait(self, condition, what, timeout_s=60):
        def watched():
            self.progress()
            return condition()
        return self.job.until(watched, what, timeout_s)

    def steady(self, members, steps=15):
        def true():
            counts = self.job.log.counts()
            return len(counts) == members and min(counts.values()) >= steps
        self.wait(true, f"{members} workers that train")

    def node(self, workers):
        self.job.start_agent(["--nnodes", "1:2", "--nproc-per-node", str(workers), "--rdzv-id", "quickstart",
                              "--rdzv-endpoint", self.endpoint])

    def start(self):
        self.say("node A starts 3 workers")
        self.node(3)
        self.steady(3)

    def kill(self):
        pids = self.job.worker_pids()
        victim, number = max(pids), self.job.log.number()
        self.say(f"step {self.job.log.step()}: kill -9 of worker {victim} (pid {pids[victim]})")
        killed_ns = boot_ns()
        send(pids[victim], signal.SIGKILL)
        resumed = self.wait(lambda: self.job.log.applied(killed_ns, number), "a step after the kill")[0]
        self.results["kill_to_next_step_ms"] = round((resumed["t_ns"] - killed_ns) / 1e6, 1)
        self.say(f"the other two applied step {resumed['step']} {self.results['kill_to_next_step_ms']:.0f} ms later, "
                 "without a restart")
        self.steady(3)
        self.say("its replacement has joined: 3 workers")

    def leave(self):
        pids = self.job.worker_pids()
        leaver = sorted(pids)[1]
        self.say(f"step {self.job.log.step()}: SIGTERM to worker {leaver}, which may leave")
        asked_ns = boot_ns()
        send(pids[leaver], signal.SIGTERM)
        self.wait(lambda: not running(pids[leaver]), "the end of the leaver")
        self.steady(2)
        self.say(f"it left between two steps: {len(self.job.log.aborted(asked_ns))} steps aborted, 2 workers")

    def join(self):
        begun_ns = boot_ns() - int(2e9)
        usual_ms = statistics.median(self.job.log.step_ms(begun_ns, boot_ns()))
        self.say(f"step {self.job.log.step()}: node B starts 2 workers")
        stay, asked_ns = set(self.job.log.counts()), boot_ns()
        self.node(2)
        self.steady(4)
        longest = max(max(self.job.log.step_ms(asked_ns, boot_ns(), worker)) for worker in stay)
        self.results["join_stall_ms"] = round(max(longest - usual_ms, 0.0), 1)
        self.say(f"both have joined: 4 workers; the longest step took {self.results['join_stall_ms']:.0f} ms more than usual")

    def finish(self):
        def ended():
            self.progress()
            return all(agent.poll() is not None for agent in self.job.agents)
        while not ended():
            time.sleep(0.05)
        self.job.wait_end(60)
        found = re.findall(r"test accuracy[ =:]+([0-9.]+)", "".join(self.job.output(agent) for agent in self.job.agents))
        if not found:
            raise WrongAnswer("nobody printed a test accuracy")
        self.results["test_accuracy"] = float(found[-1])
        self.say(f"the last step is done, every process has ended: test accuracy {self.results['test_accuracy']:.4f}")

    def judge(self):
        report = judge(str(BIN / "spillway_check_log"), self.job.logs)
        for key in ("steps_applied", "steps_aborted", "samples_lost", "samples_doubled", "replicas_equal"):
            self.results[key] = report[key]
        wrong = breaches(report)
        if self.results["test_accuracy"] < LEAST_ACCURACY:
            wrong.append(f"test accuracy {self.results['test_accuracy']} is below {LEAST_ACCURACY}")
        return wrong


def table(results):
    rows = [("steps applied", results["steps_applied"]), ("steps aborted and redone", results["steps_aborted"]),
            ("samples lost", results["samples_lost"]), ("samples doubled", results["samples_doubled"]),
            ("replicas equal", "yes, bit for bit" if results["replicas_equal"] else "NO"),
            ("kill -> next applied step", f"{results['kill_to_next_step_ms']:.0f} ms"),
            ("join stall", f"{results['join_stall_ms']:.0f} ms"), ("test accuracy", f"{100 * results['test_accuracy']:.1f} %")]
    print("\n" + "\n".join(f"  {name:<28}{value}" for name, value in rows))


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json")
    options = parser.parse_args()
    with Job(str(BIN / "spillway"), [str(BIN / "02_fashion_mnist"), PASSES]) as job:
        show = Demonstration(job)
        for act in (show.start, show.kill, show.leave, show.join, show.finish):
            act()
        wrong = show.judge()
    table(show.results)
    if options.json:
        pathlib.Path(options.json).write_text(json.dumps(show.results) + "\n", encoding="utf-8")
    for what in wrong:
        print(f"quickstart: {what}", file=sys.stderr)
    return 1 if wrong else 0


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(128 + signal.SIGINT)
    except WrongAnswer as reason:
        sys.exit(f"quickstart: {reason}")
