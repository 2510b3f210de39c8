#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The engine in 1 to 8 real processes over UCX, from the first step to the last; and jobs that are wrong on purpose."""
import json
import pathlib
import tempfile

from case import JobCase, main
from events import breaches, judge


class EngineTest(JobCase):
    def run_workers(self, workers, steps=60, step_ms=2, flags=(), code=0):
        job = self.job(self.toy(*flags, steps=steps, step_ms=step_ms))
        with job:
            job.start_agent(["--standalone", "--nproc-per-node", str(workers)])
            job.wait_end(60, [code])
            report = judge(self.program("spillway_check_log"), job.logs)
            return report, job.log.read()

    def test_1_2_3_4_5_8_workers(self):
        hashes = {}
        for workers in (1, 2, 3, 4, 5, 8):
            with self.subTest(workers=workers):
                report, events = self.run_workers(workers)
                self.assertEqual(breaches(report), [])
                self.assertEqual([report["steps_applied"], report["workers"]], [60, workers])
                self.assertEqual(report["steps_aborted"], 0)
                last = {e["hash"] for e in events if e["event"] == "applied" and e["step"] == 60}
                self.assertEqual(len(last), 1)
                hashes[workers] = last.pop()
                contributed = {e["worker"] for e in events if e["event"] == "contributed" and e["ranges"]}
                self.assertEqual(len(contributed), workers)
        self.measured(samples=report["samples_used"], final_states=len(hashes))

    def test_a_large_state(self):
        report, _ = self.run_workers(3, steps=10, step_ms=1, flags=["--state-mb", 64])
        self.assertEqual(breaches(report), [])


class WrongLoopsTest(JobCase):
    """Loops that leave samples out or compute them twice, in real runs: the log is of what they did."""

    def judged(self, *flags):
        with self.job(self.toy(*flags, steps=30, step_ms=1)) as job:
            job.start_agent(["--standalone", "--nproc-per-node", "2"])
            job.wait_end(60)
            return judge(self.program("spillway_check_log"), job.logs)

    def test_a_loop_that_leaves_samples_out(self):
        report = self.judged("--skip-step", 15)
        self.assertGreater(report["samples_lost"], 0)
        self.assertEqual(report["samples_doubled"], 0)

    def test_a_loop_that_computes_samples_twice(self):
        report = self.judged("--repeat-step", 15)
        self.assertGreater(report["samples_doubled"], 0)
        self.assertEqual(report["samples_lost"], 0)


class MutantsTest(JobCase):
    """The checker reports what a loop that skips or repeats samples would have logged: real logs, changed in one place."""

    def setUp(self):
        with self.job(self.toy(steps=30, step_ms=1)) as job:
            job.start_agent(["--standalone", "--nproc-per-node", "2"])
            job.wait_end(60)
            self.lines = {path.name: path.read_text().splitlines() for path in job.logs.glob("worker-*.jsonl")}
        self.assertEqual(breaches(self.judged(self.lines)), [])

    def judged(self, lines):
        with tempfile.TemporaryDirectory() as folder:
            for name, content in lines.items():
                (pathlib.Path(folder) / name).write_text("\n".join(content) + "\n")
            return judge(self.program("spillway_check_log"), folder)

    def mutate(self, kind, change):
        """The report on the logs in which `change` has been at one event of step 15 of the worker named first."""
        name = sorted(self.lines)[0]
        changed = []
        for line in self.lines[name]:
            event = json.loads(line)
            hit = event["event"] == kind and event["step"] == 15
            changed += [json.dumps(one) for one in change(event)] if hit else [line]
        self.assertNotEqual(changed, self.lines[name])
        return self.judged(dict(self.lines, **{name: changed}))

    def ranges(self, change):
        return self.mutate("contributed", lambda event: [dict(event, ranges=change(event["ranges"]))])

    def test_a_skipped_range(self):
        self.assertGreater(self.ranges(lambda ranges: ranges[1:])["samples_lost"], 0)

    def test_a_skipped_sample(self):
        report = self.ranges(lambda ranges: ranges[:-1] + [[ranges[-1][0], ranges[-1][1], ranges[-1][2] - 1]])
        self.assertEqual(report["samples_lost"], 1)

    def test_a_repeated_range(self):
        self.assertGreater(self.ranges(lambda ranges: ranges + ranges[:1])["samples_doubled"], 0)

    def test_a_sample_of_somebody_else(self):
        report = self.ranges(lambda ranges: [[ranges[0][0], ranges[0][1] + 1, ranges[0][2] + 1]] + ranges[1:])
        self.assertGreater(report["samples_lost"] + report["samples_doubled"], 0)

    def test_a_step_without_its_contribution(self):
        self.assertGreater(self.mutate("contributed", lambda event: [])["samples_lost"], 0)

    def test_another_state(self):
        report = self.mutate("applied", lambda event: [dict(event, hash="0" * len(event["hash"]))])
        self.assertFalse(report["replicas_equal"])


if __name__ == "__main__":
    main()
