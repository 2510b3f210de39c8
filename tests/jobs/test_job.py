#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""job.py measures what it says, on a job whose times are known (fake_spillway.py)."""
import os
import pathlib
import signal
import sys
import tempfile
import unittest

import job
import processes
from processes import WrongAnswer

FAKE = str(pathlib.Path(__file__).with_name("fake_spillway.py"))


class JobTest(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.TemporaryDirectory()
        self.addCleanup(self.folder.cleanup)
        self.program = self.folder.name + "/program"  # runs its arguments under its own name
        with open(self.program, "w", encoding="utf-8") as file:
            file.write('#!/bin/sh\nexec "$@"\n')
        os.chmod(self.program, 0o755)

    def start(self):
        run = job.Job(FAKE, [self.program], ["--standalone", "--nproc-per-node", "3"])
        run._program = [sys.executable]  # what the workers' command line begins with, once started
        return run

    def test_a_kill_is_timed_to_the_survivors_and_to_the_replacement(self):
        with self.start() as run:
            run.wait_steady(3)
            next_ms, replaced_ms, _ = run.kill_one()
            self.assertGreaterEqual(next_ms, 60)
            self.assertGreaterEqual(replaced_ms, 160)
            self.assertLess(next_ms, replaced_ms)

    def test_a_leave_is_an_extra_step_without_an_abort(self):
        with self.start() as run:
            run.wait_steady(3)
            extra_ms, aborted = run.change(lambda: os.kill(run.workers()[-1], signal.SIGTERM), 2, settle_s=0.5)
            self.assertGreater(extra_ms, 0)
            self.assertEqual(aborted, 0)

    def test_nothing_outlives_a_job(self):
        with self.start() as run:
            run.wait_steady(3)
            pids = run.workers() + [run.agents[0].pid]
        for pid in pids:
            self.assertFalse(processes.running(pid))

    def test_what_does_not_happen_is_a_wrong_answer(self):
        with self.assertRaisesRegex(WrongAnswer, "a pig that flies did not happen"):
            processes.until(lambda: False, "a pig that flies", 0.05)


if __name__ == "__main__":
    sys.exit(unittest.main())
