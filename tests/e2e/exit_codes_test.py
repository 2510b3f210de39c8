#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What `spillway run` ends with: 0, or the code of the worker that ended the job. Kills that were survived do not count."""
import signal

from case import JobCase, main
from processes import send


class ExitCodesTest(JobCase):
    def run_to_end(self, code, steps=40, workers=2, fault="", flags=(), program=None):
        environment = {"SPILLWAY_FAULT": fault} if fault else None
        with self.job(program or self.toy(steps=steps), environment) as job:
            job.start_agent(["--standalone", "--nproc-per-node", str(workers), *flags])
            job.wait_end(60, [code])
            return job.output(), (job.verdict(self.program("spillway_check_log")) if code == 0 else None)

    def test_the_last_step_ends_the_job_with_0(self):
        _, report = self.run_to_end(0)
        self.assertEqual(report["steps_applied"], 40)

    def test_survived_kills_do_not_count(self):
        _, report = self.run_to_end(0, steps=150, fault="backward@worker=2@hit=10:kill,vote.cast@worker=3@hit=10:kill")
        self.assertEqual(report["steps_applied"], 150)
        self.assertGreaterEqual(report["workers"], 3)

    def test_a_survived_exit_code_does_not_count(self):
        self.run_to_end(0, steps=100, fault="backward@worker=2@hit=10:exit=9")

    def test_a_worker_that_always_exits_ends_the_job_with_its_code(self):
        output, _ = self.run_to_end(7, fault="step.begin@step=1:exit=7", flags=["--max-restarts", "1"])
        self.assertRegex(output, r"exited with code 7")

    def test_a_worker_that_is_always_killed_ends_the_job_with_128_and_the_signal(self):
        output, _ = self.run_to_end(137, workers=1, fault="step.begin@step=1:kill", flags=["--max-restarts", "2"])
        self.assertRegex(output, r"SIGKILL")
        self.assertRegex(output, r"death 2 of at most 2")

    def test_no_restart_is_allowed(self):
        output, _ = self.run_to_end(7, workers=1, fault="step.begin@step=1:exit=7", flags=["--max-restarts", "0"])
        self.assertNotRegex(output, r"replaces the worker")

    def test_a_slot_that_stays_empty_is_said_and_not_what_the_job_ended_with(self):
        output, report = self.run_to_end(0, steps=100, fault="step.begin@worker=2@step=1:exit=7", flags=["--max-restarts", "0"])
        self.assertRegex(output, r"local rank \d: stays empty, the others go on: its workers died 1 times")
        self.assertRegex(output, r"the job is done")
        self.assertEqual(report["steps_applied"], 100)

    def test_three_restarts_are_the_default(self):
        output, _ = self.run_to_end(7, workers=1, fault="step.begin@step=1:exit=7")
        self.assertRegex(output, r"death 3 of at most 3")
        self.assertNotRegex(output, r"death 4")

    def test_a_plain_program_ends_the_job_as_under_torchrun(self):
        self.run_to_end(3, program=["/bin/sh", "-c", "exit 3"])
        output, _ = self.run_to_end(128 + signal.SIGSEGV, program=["/bin/sh", "-c", "echo last words; kill -SEGV $$"])
        self.assertRegex(output, r"SIGSEGV")
        self.assertRegex(output, r"last words")

    def test_ctrl_c_ends_everything(self):
        with self.standalone(2) as job:
            job.wait_steady(2)
            job.agents[0].send_signal(signal.SIGINT)
            self.end(job, 40)

    def test_a_kill_within_a_departure_does_not_count(self):
        for _ in range(6):  # each in its own order of what the agent hears first
            with self.standalone(3) as job:
                job.wait_steady(3)
                send(job.workers()[0], signal.SIGKILL)
                job.agents[0].send_signal(signal.SIGTERM)
                self.end(job, 40)

    def test_a_second_signal_does_not_wait(self):
        with self.standalone(2) as job:
            job.wait_steady(2)
            for pid in job.workers():
                send(pid, signal.SIGSTOP)  # such workers cannot leave
            job.agents[0].send_signal(signal.SIGTERM)
            self.assert_said(job, r"received SIGTERM")
            job.agents[0].send_signal(signal.SIGTERM)
            job.wait_end(15, [128 + signal.SIGTERM])


if __name__ == "__main__":
    main()
