#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Agents that start on the coordinator's host while it is away: nobody takes its place without its record."""
import re
import signal
import socket
import subprocess

from case import Coordinator, JobCase, main
from processes import boot_ns, until

STOOD_IN = r"so the coordinator is in this process"


class StandInTest(JobCase):
    def spillway(self, *arguments):
        return subprocess.run([self.program("spillway"), *arguments], capture_output=True, text=True, timeout=20, check=False)

    def add_blind_node(self, job, workers):
        """One that cannot see the mark which the coordinator has left, as in a container of its own."""
        folder = job.folder / f"runtime-{len(job.agents)}"
        folder.mkdir()
        return self.add_node(job, workers, {"SPILLWAY_RUNTIME_DIR": str(folder)})

    def goes_on_with(self, job, members, away_ns, number):
        """The job is whole, in the life that it had before, and nobody lost a step."""
        whole = job.wait_steady(members)
        self.assertTrue({1, 2} <= whole, whole)
        self.assertEqual(job.log.aborted(away_ns), [])
        self.assertGreater(job.log.number(), number)  # the newcomer's
        self.stop(job)

    def test_an_agent_waits_for_the_coordinator_that_left_its_mark(self):
        with self.several_nodes([1, 1]) as job:
            job.wait_steady(2)
            number = job.log.number()
            job.coordinator.kill()
            away_ns = boot_ns()
            late = self.add_node(job, 1)
            self.assert_said(job, r"is away and meant to come back", late)
            with self.assertRaises(ConnectionRefusedError):
                socket.create_connection(("127.0.0.1", job.coordinator.port), 1).close()
            job.coordinator.start()
            self.goes_on_with(job, 3, away_ns, number)
            self.assertNotRegex(job.output(late), STOOD_IN)

    def test_a_stand_in_steps_aside_when_the_jobs_agents_call(self):
        with self.several_nodes([1, 1]) as job:
            job.wait_steady(2)
            number = job.log.number()
            job.coordinator.kill()
            away_ns = boot_ns()
            late = self.add_blind_node(job, 1)
            self.assert_said(job, STOOD_IN, late)
            self.assert_said(job, r"the coordinator in this process has ended", late)
            job.coordinator.start()
            self.assertFalse(job.coordinator.dead(), job.output(job.coordinator.process))
            self.goes_on_with(job, 3, away_ns, number)

    def test_a_coordinator_gets_its_address_back_from_a_stand_in(self):
        with self.several_nodes([1, 1]) as job:
            job.wait_steady(2)
            number = job.log.number()
            job.coordinator.kill()
            away_ns = boot_ns()
            late = self.add_blind_node(job, 1)
            self.assert_said(job, STOOD_IN, late)
            job.coordinator.start()
            self.assertFalse(job.coordinator.dead(), job.output(job.coordinator.process))
            self.goes_on_with(job, 3, away_ns, number)

    def test_an_agent_with_the_same_store_takes_over(self):
        with self.several_nodes([1, 1]) as job:
            job.wait_steady(2)
            number = job.log.number()
            job.coordinator.kill()
            away_ns = boot_ns()
            job.node_flags = ["--store", str(job.coordinator.store)]
            self.assert_said(job, STOOD_IN, self.add_node(job, 1))
            self.goes_on_with(job, 3, away_ns, number)
            self.assertEqual(self.marks(job), [])

    def test_a_record_that_is_lost_is_adopted_by_an_operator(self):
        with self.toy_job() as job:
            job.coordinator = Coordinator.__new__(Coordinator)
            endpoint = f"127.0.0.1:{self.port()}"
            job.coordinator.endpoint, job.node_flags = endpoint, []
            self.add_node(job, 1)  # carries the coordinator, and its record with it
            job.wait_steady(1)
            self.add_node(job, 2)
            job.wait_steady(3)
            number = job.log.number()
            job.ended_on_purpose.add(0)
            job.agents[0].kill()
            again = self.add_node(job, 1)
            lineage = job.until(lambda: re.search(r"belongs to lineage (\d+)", job.output(again)), "the lineage of who calls", 20)
            self.assert_said(job, r"the coordinator in this process has ended", again)
            other = job.start_other(["coordinator", "--listen", endpoint])
            self.assert_said(job, "listens on", other)
            job.until(lambda: "adopt" in self.spillway("explain", "--endpoint", endpoint).stdout, "the advice to adopt", 20)
            adopted = self.spillway("adopt", lineage.group(1), "--endpoint", endpoint)
            self.assertEqual(adopted.returncode, 0, adopted.stderr)
            job.until(lambda: job.log.number() > number, "an epoch of the adopted job", 30)
            self.assertTrue({2, 3} <= job.wait_steady(3))
            self.stop(job, codes=[-signal.SIGKILL, 0, 0])

    def marks(self, job):
        return list(job.folder.glob("spillway-coordinator-*"))

    def test_a_mark_goes_with_a_coordinator_that_nobody_needs(self):
        with self.several_nodes([1]) as job:
            job.wait_steady(1)
            self.assertEqual(len(self.marks(job)), 1)
            process = job.coordinator.process
            process.send_signal(signal.SIGTERM)
            until(job.coordinator.dead, "the end of the coordinator", 10)
            self.assertEqual(len(self.marks(job)), 1)  # the job will call again
            process = job.coordinator.start()
            job.stop_file.touch()
            job.until(lambda: job.agents[0].poll() is not None, "the end of the job", 30)
            process.send_signal(signal.SIGTERM)
            until(job.coordinator.dead, "the end of the coordinator", 10)
            self.assertEqual(process.returncode, 0)
            self.assertEqual(self.marks(job), [])

    def test_waiting_for_a_coordinator_is_bounded_and_says_what_to_do(self):
        with self.several_nodes([], ["--join-timeout", "1"]) as job:
            job.coordinator.kill()
            late = self.add_node(job, 1)
            job.wait_end(20, [69])
            self.assertRegex(job.output(late), r"(?s)tried \d+ times.*start it again with its store.*remove .*spillway-coordinator-")


if __name__ == "__main__":
    main()
