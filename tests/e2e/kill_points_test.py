#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""kill -9 at every named fault point: the survivors go on, a replacement joins, and nothing is lost.

A worker's id is given once, so a chain of rules lets each replacement die at the next point.
"""
import re
import signal

from case import ROOT, JobCase, main
from processes import send

STEP = ["step.begin", "backward", "bucket.contributed", "reduce.done", "vote.cast", "word.complete", "apply.before", "apply.after"]
JOIN = ["join.registered", "join.copying", "join.copied"]
ABORT = ["abort.received", "stopped.sent", "epoch.received"]
BESIDE_A_JOIN = ["serve.state", "switch.before"]
LEAVE = ["leave.requested"]
EVALUATION = ["collective.called"]  # by who evaluates: examples_test.py
COORDINATOR = ["coordinator.write", "coordinator.written", "coordinator.announced"]


class KillPointsTest(JobCase):
    def run_with(self, rules, workers=3, state_mb=None):
        flags = ["--state-mb", state_mb] if state_mb else []
        return self.standalone(workers, flags, {"SPILLWAY_FAULT": ",".join(rules)}, ["--max-restarts", "20"])

    def deaths(self, job, count, timeout_s=60):
        """Waits until so many workers have died, and the job is whole again."""
        job.until(lambda: self.killed_workers(job) >= count, lambda: f"{count} deaths (now {self.killed_workers(job)})", timeout_s)

    def check(self, job, deaths):
        report = self.stop(job)
        self.assertEqual(self.killed_workers(job), deaths)
        self.measured(deaths=deaths, steps=report["steps_applied"], redone=report["steps_redone"], numbers=report["numbers"])

    def test_each_point_of_a_step(self):
        rules = [f"{point}@worker={3 + i}@hit=10:kill" for i, point in enumerate(STEP)]
        with self.run_with(rules) as job:
            self.deaths(job, len(STEP))
            job.wait_steady(3)
            self.check(job, len(STEP))

    def test_rank_0_four_times(self):
        # Rank 0 is the oldest worker: 1, then 2, 3, 4.
        points = ["reduce.done", "vote.cast", "word.complete", "apply.before"]
        with self.run_with([f"{point}@worker={1 + i}@step={20 + 20 * i}:kill" for i, point in enumerate(points)], 5) as job:
            self.deaths(job, len(points))
            self.assertIn(5, job.wait_steady(5))
            self.check(job, len(points))

    def test_each_point_of_joining(self):
        rules = ["step.begin@worker=3@hit=10:kill"] + [f"{point}@worker={4 + i}:kill" for i, point in enumerate(JOIN)]
        with self.run_with(rules) as job:
            self.deaths(job, 1 + len(JOIN))
            job.wait_steady(3)
            self.check(job, 1 + len(JOIN))

    def test_each_point_beside_a_join(self):
        for point in BESIDE_A_JOIN:
            with self.subTest(point), self.run_with(["step.begin@worker=3@hit=10:kill", f"{point}@worker=1:kill"], state_mb=8) as job:
                self.deaths(job, 2)
                job.wait_steady(3)
                self.check(job, 2)

    def test_each_point_of_an_abort(self):
        for point in ABORT:
            with self.subTest(point), self.run_with(["step.begin@worker=3@hit=10:kill", f"{point}@worker=2:kill"]) as job:
                self.deaths(job, 2)
                job.wait_steady(3)
                self.check(job, 2)

    def test_a_leaver_dies_as_it_is_asked(self):
        with self.run_with(["leave.requested@worker=2:kill"]) as job:
            job.wait_steady(3)
            send(job.pid_of(2), signal.SIGTERM)
            # Nobody knows yet that it wanted to leave: it has died, and is replaced.
            self.deaths(job, 1)
            self.assertTrue({1, 3} <= job.wait_steady(3))
            self.check(job, 1)

    def test_each_point_of_the_coordinator(self):
        faults = [f"{point}@hit={hit}:kill" for hit in (1, 3, 2) for point in COORDINATOR]
        with self.several_nodes([3], ["--max-restarts", "50"], coordinator_environment={"SPILLWAY_FAULT": faults[0]}) as job:
            for i in range(len(faults)):
                self.disturb_until_dead(job)
                self.assertEqual(job.coordinator.process.returncode, -signal.SIGKILL)
                job.coordinator.start({"SPILLWAY_FAULT": faults[i + 1]} if i + 1 < len(faults) else None)
            job.wait_steady(3)
            report = self.stop(job)
            self.measured(coordinators=len(faults) + 1, steps=report["steps_applied"], workers=report["workers"])

    def disturb_until_dead(self, job):
        """Kills workers until the coordinator, which has to write for each, has died."""
        def dead_or_steady():
            return job.coordinator.dead() or len(job.log.counts()) == 3
        while not job.coordinator.dead():
            job.until(dead_or_steady, "a steady job or a dead coordinator", 30)
            if not job.coordinator.dead():
                before = job.log.number()
                send(job.workers()[-1], signal.SIGKILL)
                job.until(lambda: job.coordinator.dead() or job.log.number() > before, "a new number or a dead coordinator", 30)

    def test_no_point_is_forgotten(self):
        source = (ROOT / "runtime/base/fault_point.cc").read_text()
        listed = re.findall(r'"([a-z]+\.?[a-z]*)"', source.split("kFaultPoints = {")[1].split("};")[0])
        tried = STEP + JOIN + ABORT + BESIDE_A_JOIN + LEAVE + EVALUATION + COORDINATOR
        self.assertGreater(len(listed), 15)
        self.assertEqual(sorted(tried), sorted(listed))
        protocol = (ROOT / "runtime/coordinator/PROTOCOL.md").read_text()
        self.assertEqual([point for point in listed if f"`{point}`" not in protocol], [])


if __name__ == "__main__":
    main()
