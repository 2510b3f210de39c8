#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""SIGTERM to a worker or an agent is a planned departure: it costs no step, and nobody is replaced."""
import signal

from case import JobCase, main
from processes import boot_ns, running, send


class DeparturesTest(JobCase):
    def leave(self, job, workers, stay):
        """SIGTERM to some workers; they end, the others lose no step."""
        pids = job.worker_pids()
        asked_ns = boot_ns()
        for worker in workers:
            send(pids[worker], signal.SIGTERM)
        job.until(lambda: not any(running(pids[worker]) for worker in workers), f"the end of workers {workers}", 20)
        self.assertEqual(job.wait_steady(len(stay)), stay)
        aborted = job.log.aborted(asked_ns)
        self.assertEqual(aborted, [])
        return asked_ns

    def test_a_worker(self):
        with self.standalone(3) as job:
            job.wait_steady(3)
            asked_ns = self.leave(job, {2}, {1, 3})
            pause_ms = job.log.longest_pause_ms(asked_ns, boot_ns())
            self.assertEqual(self.stop(job)["steps_aborted"], 0)
            self.measured(longest_pause_ms=pause_ms)

    def test_rank_0(self):
        with self.standalone(3) as job:
            job.wait_steady(3)
            self.leave(job, {1}, {2, 3})
            self.assertEqual(self.stop(job)["steps_aborted"], 0)

    def test_two_at_once(self):
        with self.standalone(4) as job:
            job.wait_steady(4)
            self.leave(job, {1, 4}, {2, 3})
            self.assertEqual(self.stop(job)["steps_aborted"], 0)

    def test_an_agent_with_its_workers(self):
        with self.several_nodes([2, 1]) as job:
            job.wait_steady(3)
            asked_ns = boot_ns()
            job.ended_on_purpose.add(0)
            job.agents[0].send_signal(signal.SIGTERM)
            job.until(lambda: job.agents[0].poll() is not None, "the end of the agent", 20)
            self.assertEqual(job.agents[0].returncode, 0)
            job.wait_steady(1)
            self.assertEqual(job.log.aborted(asked_ns), [])
            self.assertEqual(self.stop(job)["steps_aborted"], 0)

    def test_everybody_on_all_nodes_though_others_might_come(self):
        for nodes, number in (([2, 1], signal.SIGTERM), ([2], signal.SIGINT)):
            with self.subTest(nodes), self.several_nodes(nodes) as job:
                job.wait_steady(sum(nodes))
                asked_ns = boot_ns()
                for agent in job.agents:
                    agent.send_signal(number)
                job.wait_end(15, [0] * len(nodes))  # before workers would be killed
                self.assertLess(boot_ns() - asked_ns, 10e9)
                self.assertEqual(job.log.aborted(asked_ns), [])

    def test_everybody(self):
        with self.standalone(3) as job:
            job.wait_steady(3)
            job.agents[0].send_signal(signal.SIGTERM)
            report = self.end(job, 40)
            self.measured(steps=report["steps_applied"], aborted=report["steps_aborted"])

    def test_a_leaver_and_a_kill_at_once(self):
        with self.standalone(4) as job:
            job.wait_steady(4)
            pids = job.worker_pids()
            send(pids[2], signal.SIGTERM)
            send(pids[3], signal.SIGKILL)
            job.until(lambda: not running(pids[2]), "the end of the leaver", 20)
            self.assertTrue({1, 4} <= job.wait_steady(3))
            self.stop(job)


if __name__ == "__main__":
    main()
