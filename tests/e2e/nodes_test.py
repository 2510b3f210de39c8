#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Several agents on one host stand for several nodes, with unequal numbers of workers."""
import json
import signal
import subprocess

from case import JobCase, main
from processes import boot_ns, descendants, running, send


class NodesTest(JobCase):
    def test_unequal_nodes_and_one_that_comes_later(self):
        with self.several_nodes([1, 2]) as job:
            before = job.wait_steady(3)
            joined_ns = boot_ns()
            self.add_node(job, 3)
            self.assertTrue(before <= job.wait_steady(6))
            self.assertEqual(job.log.aborted(joined_ns), [])
            report = self.stop(job)
            self.assertEqual(report["workers"], 6)
            self.measured(longest_pause_ms=job.log.longest_pause_ms(joined_ns, boot_ns() - int(1e9)))

    def test_an_agent_is_killed_with_its_workers(self):
        with self.several_nodes([2, 1, 1]) as job:
            job.wait_steady(4)
            before, pids = job.log.number(), [job.agents[0].pid, *job.workers(0)]
            job.ended_on_purpose.add(0)
            killed_ns = boot_ns()
            for pid in pids:
                send(pid, signal.SIGKILL)
            resumed = job.wait_applied_after(killed_ns, "a step of the other nodes", 30, before)
            job.wait_steady(2)
            self.stop(job, codes=[-signal.SIGKILL, 0, 0])
            next_ms = (resumed["t_ns"] - killed_ns) / 1e6
            self.measured(next_step_ms=next_ms)
            self.assertLess(next_ms, 5000)

    def test_a_node_that_is_connected_and_silent_is_left_out_and_comes_back(self):
        """As a machine that is suspended: its agent stands still, and so do its workers; all connections stand."""
        with self.several_nodes([1, 2]) as job:
            job.wait_steady(3)
            before, stopped_ns = job.log.number(), boot_ns()
            pids = [job.agents[1].pid, *job.workers(1)]
            for pid in pids:
                send(pid, signal.SIGSTOP)
            resumed = job.wait_applied_after(stopped_ns, "a step without the silent node", 30, before)
            self.assert_said(job, r"the agent of node \d is silent", job.coordinator.process)
            self.assertEqual(len(job.wait_steady(1)), 1)
            for pid in reversed(pids):
                send(pid, signal.SIGCONT)
            self.assertEqual(len(job.wait_steady(3)), 3)
            self.stop(job)
            next_ms = (resumed["t_ns"] - stopped_ns) / 1e6
            self.measured(next_step_ms=next_ms)
            # Not heard for 3 s, which is looked at within a heartbeat.
            self.assertLess(next_ms, 6000)

    def test_a_silent_node_comes_back_after_a_planned_change_of_the_others(self):
        """Within its lease, so that it is not dead: it is told to stop, and joins."""
        with self.several_nodes([3, 1]) as job:
            job.wait_steady(4)
            before, stopped_ns = job.log.number(), boot_ns()
            pids = [job.agents[1].pid, *job.workers(1)]
            for pid in pids:
                send(pid, signal.SIGSTOP)
            job.wait_applied_after(stopped_ns, "a step without the silent node", 30, before)
            job.wait_steady(3)
            send(job.workers(0)[-1], signal.SIGTERM)
            job.wait_steady(2)
            for pid in reversed(pids):
                send(pid, signal.SIGCONT)
            self.assertEqual(len(job.wait_steady(3, timeout_s=30)), 3)
            self.stop(job)

    def test_an_agent_that_is_killed_takes_its_workers_along(self):
        with self.several_nodes([2, 1]) as job:
            job.wait_steady(3)
            workers = job.workers(0)
            job.ended_on_purpose.add(0)
            job.agents[0].kill()
            job.until(lambda: not any(running(pid) for pid in workers), "the end of its workers", 10)
            job.wait_steady(1)
            self.stop(job, codes=[-signal.SIGKILL, 0])

    def test_a_node_comes_back_after_its_kill(self):
        with self.several_nodes([1, 2]) as job:
            job.wait_steady(3)
            job.ended_on_purpose.add(1)
            pids = [job.agents[1].pid, *descendants(job.agents[1].pid)]
            for pid in pids:
                send(pid, signal.SIGKILL)
            job.wait_steady(1)
            self.add_node(job, 2)
            job.wait_steady(3)
            self.stop(job, codes=[0, -signal.SIGKILL, 0])

    def test_the_first_agent_carries_the_coordinator(self):
        with self.toy_job() as job:
            endpoint = f"127.0.0.1:{self.port()}"
            flags = ["--nnodes", "1:2", "--rdzv-id", "carried", "--rdzv-endpoint", endpoint, "--nproc-per-node"]
            job.start_agent([*flags, "1"])
            job.wait_steady(1)
            job.start_agent([*flags, "2"])
            job.wait_steady(3)
            shown = subprocess.run([self.program("spillway"), "status", "--json", "--endpoint", endpoint], capture_output=True,
                                   text=True, timeout=20, check=False)
            self.assertEqual(shown.returncode, 0, shown.stderr)
            self.assertEqual(len([m for m in json.loads(shown.stdout)["members"] if m["in_epoch"]]), 3)
            self.stop(job)

    def test_nobody_waits_for_ever_for_a_coordinator_that_died_with_its_agent(self):
        with self.toy_job() as job:
            flags = ["--nnodes", "1:2", "--rdzv-id", "carried", "--rdzv-endpoint", f"127.0.0.1:{self.port()}", "--lease", "2",
                     "--join-timeout", "4", "--shutdown-timeout", "1", "--nproc-per-node"]
            job.start_agent([*flags, "1"])
            job.wait_steady(1)
            job.start_agent([*flags, "1"])
            job.wait_steady(2)
            killed_ns = boot_ns()
            job.agents[0].kill()
            job.wait_end(30, [-signal.SIGKILL, 69])
            self.assertGreater(boot_ns() - killed_ns, 6e9)
            said = job.output(job.agents[1])
            self.assertRegex(said, r"coordinator at 127\.0\.0\.1:\d+ has been away for \d+ s; --lease is over and workers hold")
            self.assertRegex(said, r"is over: .* longer than --lease and --join-timeout together")


if __name__ == "__main__":
    main()
