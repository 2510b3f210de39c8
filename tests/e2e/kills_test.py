#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Workers that are killed or stopped from outside: the others go on in their processes, replacements join."""
import re
import signal

from case import JobCase, main
from processes import WrongAnswer, boot_ns, running, send


class KillsTest(JobCase):
    def kill(self, job, victims, survivors, members):
        """kill -9 of workers at once; the survivors' processes go on, and the job is whole again."""
        pids = job.worker_pids()
        before, killed_ns = job.log.number(), boot_ns()
        for worker in victims:
            send(pids[worker], signal.SIGKILL)
        resumed = job.wait_applied_after(killed_ns, "a step after the kill", 20, before)
        self.assertIn(resumed["worker"], survivors)
        whole = job.wait_steady(members)
        self.assertTrue(survivors <= whole, f"{survivors} are not all among {whole}")
        self.assertTrue(all(running(pids[worker]) for worker in survivors))
        report = self.stop(job)
        self.measured(next_step_ms=(resumed["t_ns"] - killed_ns) / 1e6, redone=report["steps_redone"])

    def test_two_at_once(self):
        with self.standalone(4) as job:
            job.wait_steady(4)
            self.kill(job, {2, 4}, {1, 3}, 4)

    def test_all_but_one_at_once(self):
        with self.standalone(3) as job:
            job.wait_steady(3)
            self.kill(job, {1, 2}, {3}, 3)

    def test_a_second_kill_while_the_first_is_handled(self):
        with self.standalone(3) as job:
            job.wait_steady(3)
            first, killed_ns = job.worker_pids(), boot_ns()
            send(first[1], signal.SIGKILL)
            job.until(lambda: job.log.aborted(killed_ns) or job.log.since(killed_ns, "epoch"), "the abort", 10)
            send(first[2], signal.SIGKILL)
            self.assertIn(3, job.wait_steady(3))
            self.stop(job)

    def test_a_joiner_that_is_killed_as_soon_as_it_shows(self):
        with self.standalone(3) as job:
            job.wait_steady(3)
            send(job.pid_of(3), signal.SIGKILL)
            send(job.pid_of(4), signal.SIGKILL)
            self.assertTrue({1, 2} <= job.wait_steady(3))
            self.stop(job)

    def test_a_stopped_worker_is_evicted_and_replaced(self):
        with self.standalone(3) as job:
            job.wait_steady(3)
            before, pid, stopped_ns = job.log.number(), job.pid_of(2), boot_ns()
            send(pid, signal.SIGSTOP)
            resumed = job.wait_applied_after(stopped_ns, "a step without the stopped worker", 20, before)
            job.until(lambda: not running(pid), "the end of the stopped worker", 10)
            self.assertTrue({1, 3} <= job.wait_steady(3))
            self.stop(job)
            next_ms = (resumed["t_ns"] - stopped_ns) / 1e6
            self.measured(next_step_ms=next_ms)
            self.assertLess(next_ms, 2000)

    def test_a_worker_that_runs_again_after_its_eviction_does_no_harm(self):
        with self.standalone(3, environment={"SPILLWAY_TEST_KILL_DELAY_MS": "2500"}) as job:
            job.wait_steady(3)
            before, pid, stopped_ns = job.log.number(), job.pid_of(2), boot_ns()
            send(pid, signal.SIGSTOP)
            job.wait_applied_after(stopped_ns, "a step without the stopped worker", 20, before)
            continued_ns = boot_ns()
            send(pid, signal.SIGCONT)
            job.until(lambda: not running(pid), "the kill of the evicted worker", 10)
            killed_ns = boot_ns()
            # What it had voted for it may still apply, as the others have; nothing else.
            others = {(e["number"], e["step"]) for e in job.log.applied() if e["worker"] != 2}
            alone = {(e["number"], e["step"]) for e in job.log.applied(stopped_ns) if e["worker"] == 2}
            self.assertLessEqual(len(alone), 1)
            self.assertEqual(alone - others, set())
            self.assertTrue({1, 3} <= job.wait_steady(3))
            self.stop(job)
            self.assertGreater(killed_ns - continued_ns, 500e6)  # it did run
            self.assertEqual(len(re.findall(r"\[P3\] abort \d+", job.output())), 1)  # its death is no second fault
            self.measured(ran_again_ms=(killed_ns - continued_ns) / 1e6)


if __name__ == "__main__":
    main()
