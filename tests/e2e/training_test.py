#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Programs on the train API: what user code does wrong, and Fashion-MNIST under kills."""
import re
import signal
import statistics

from case import JobCase, main
from events import judge
from processes import send

ERROR = 4  # what tiny_loop ends with when it catches spillway::Error


class TinyLoopTest(JobCase):
    def tiny(self, *flags):
        return [self.program("tiny_loop"), *map(str, flags)]

    def run_tiny(self, code, *flags, workers=2, restarts=0):
        with self.job(self.tiny(*flags)) as job:
            job.start_agent(["--standalone", "--nproc-per-node", str(workers), "--max-restarts", str(restarts)])
            job.wait_end(60, [code])
            return job.output(), (job.verdict(self.program("spillway_check_log")) if code == 0 else None)

    def test_a_loss_that_is_not_a_number_is_a_warning(self):
        output, report = self.run_tiny(0, "--steps", 20, "--nan-at", 9)
        self.assertEqual(report["steps_applied"], 20)
        self.assertRegex(output, r"(?i)step 9.*not a number|not a number.*step 9|nan.*step 9|step 9.*nan")

    def test_a_loss_that_is_not_a_number_stops_the_job_if_asked(self):
        output, _ = self.run_tiny(ERROR, "--steps", 20, "--nan-at", 9, "--stop-on-nan", 1)
        self.assertRegex(output, r"tiny_loop: .*(?i:not a number|nan)")

    def test_an_exception_in_user_code_ends_the_job_as_it_would_alone(self):
        output, _ = self.run_tiny(128 + signal.SIGABRT, "--steps", 20, "--throw-at", 1, restarts=1)
        self.assertRegex(output, r"the user's own mistake")
        self.assertRegex(output, r"SIGABRT")

    def test_a_data_set_smaller_than_a_batch(self):
        output, _ = self.run_tiny(ERROR, "--samples", 32, "--batch", 64)
        self.assertRegex(output, r"tiny_loop: .*32.*64|tiny_loop: .*64.*32")

    def test_reduction_begins_before_the_last_gradient(self):
        with self.job(self.tiny("--steps", 10**7, "--width", 4096, "--show-hooks", 1)) as job:
            job.start_agent(["--standalone", "--nproc-per-node", "2"])
            job.wait_steady(2)
            survivor, victim = sorted(job.worker_pids())
            pid = job.pid_of(survivor)
            send(job.pid_of(victim), signal.SIGKILL)
            dump = job.until(lambda: [e for e in job.log.since(0, "flight") if e["worker"] == survivor], "the flight record", 20)[0]
            hooks = {int(step): int(at) for step, at in re.findall(rf"pid {pid} step (\d+): last gradient at (\d+)", job.output())}
            first = [r for r in dump["records"] if r["index"] == 0 and r["step"] in hooks]
            self.assertGreater(len(first), 3)
            # That it is handed in early is the program's order; when it starts is also the machine's scheduling.
            self.assertEqual([r for r in first if r["queued_ns"] >= hooks[r["step"]]], [])
            early = [hooks[r["step"]] - r["started_ns"] for r in first]
            overlapping = sum(1 for ns in early if ns > 0)
            self.measured(steps=len(early), overlapping=overlapping, median_us=statistics.median(early) / 1e3)
            self.assertGreater(overlapping, len(early) / 2)

    def judged(self, *flags):
        with self.job(self.tiny("--steps", 30, *flags)) as job:
            job.start_agent(["--standalone", "--nproc-per-node", "2"])
            job.wait_end(60)
            return judge(self.program("spillway_check_log"), job.logs)

    def test_a_loop_that_leaves_samples_out_is_reported(self):
        for loader in (0, 1):
            report = self.judged("--skip-step", 15, "--loader", loader)
            self.assertGreater(report["samples_lost"], 0, f"loader {loader}")
            self.assertEqual(report["samples_doubled"], 0, f"loader {loader}")

    def test_a_loop_that_computes_samples_twice_is_reported(self):
        for loader in (0, 1):
            report = self.judged("--repeat-step", 15, "--loader", loader)
            self.assertGreater(report["samples_doubled"], 0, f"loader {loader}")
            self.assertEqual(report["samples_lost"], 0, f"loader {loader}")

    def test_a_loop_that_does_neither_is_not(self):
        for loader in (0, 1):
            report = self.judged("--loader", loader)
            self.assertEqual((report["samples_lost"], report["samples_doubled"]), (0, 0), f"loader {loader}")

    def test_models_that_differ(self):
        with self.several_nodes([]) as job:
            job.set_program(self.tiny("--steps", 10**7))
            self.add_node(job, 1)
            job.wait_steady(1)
            job.set_program(self.tiny("--steps", 10**7, "--width", 9))
            self.add_node(job, 1)
            job.ended_on_purpose.add(1)
            job.until(lambda: job.agents[1].poll() is not None, "the end of the refused node", 30)
            self.assertEqual(job.agents[1].returncode, ERROR)
            self.assertRegex(job.output(job.agents[1]), r"0\.weight.*\[8, ?4\].*0\.weight.*\[9, ?4\]|0\.weight.*\[9, ?4\].*0\.weight.*\[8, ?4\]")
            job.wait_step(job.log.step() + 5)
            # Others may come, so the only holder would wait for them; the second signal does not let it.
            job.agents[0].send_signal(signal.SIGTERM)
            self.assert_said(job, "received SIGTERM")
            job.agents[0].send_signal(signal.SIGTERM)
            job.wait_end(30, [128 + signal.SIGTERM, ERROR])  # nothing is left behind


class FashionMnistTest(JobCase):
    def test_kills_while_it_learns(self):
        passes = 4
        with self.job([self.program("02_fashion_mnist"), str(passes)]) as job:
            job.start_agent(["--standalone", "--nproc-per-node", "3"])
            job.wait_steady(3)
            send(job.workers()[-1], signal.SIGKILL)
            report = self.end(job, 90)
            accuracy = [float(found) for found in re.findall(r"test accuracy ([0-9.]+)", job.output())]
            self.measured(steps=report["steps_applied"], aborted=report["steps_aborted"], accuracy_percent=100 * accuracy[0])
            self.assertEqual(report["steps_applied"], passes * 250)
            self.assertEqual(len(accuracy), 1)  # rank 0 alone says it
            self.assertGreater(accuracy[0], 0.85)


if __name__ == "__main__":
    main()
