#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Workers on the API under `spillway run`, with link_worker instead of an engine: who is replaced, who may go, who is told what."""
import json
import re
import signal
import subprocess

from case import Coordinator, JobCase, main
from processes import descendants, running, send, until


class ApiCase(JobCase):
    def link_job(self, *flags):
        job = self.job()
        job.stop_file = job.folder / "finish"
        job.set_program([self.program("link_worker"), "--finish", str(job.stop_file), *flags])
        return job

    def standalone(self, workers, *flags, environment=None):
        job = self.link_job()
        job.start_agent(["--standalone", "--nproc-per-node", str(workers), *flags], environment)
        return job

    def nodes(self, counts, *flags):
        """Agents on a coordinator of its own."""
        job = self.link_job()
        job.coordinator = Coordinator(job)
        job.flags = flags
        for count in counts:
            self.add(job, count)
        return job

    def add(self, job, count):
        job.start_agent(["--nnodes", "1:4", "--rdzv-endpoint", job.coordinator.endpoint, "--rdzv-id", "job", "--nproc-per-node",
                         str(count), *job.flags])

    def endpoint(self, job):
        if hasattr(job, "coordinator"):
            return job.coordinator.endpoint
        return until(lambda: re.search(r"--endpoint (unix:\S+)", job.output()), "the address of the coordinator").group(1)

    def ask(self, job, *arguments):
        done = subprocess.run([self.program("spillway"), *arguments, "--endpoint", self.endpoint(job)], capture_output=True, text=True,
                              timeout=30, check=False)
        self.assertEqual(done.returncode, 0, done.stderr)
        return done.stdout

    def members(self, job):
        """Ids in the newest number, by the coordinator's own report."""
        try:
            report = json.loads(self.ask(job, "status", "--json"))
        except AssertionError:
            return set()  # not begun, or away
        return {m["worker"] for m in report.get("members", []) if m["in_epoch"] and m["connected"]}

    def wait_members(self, job, count):
        return job.until(lambda: len(found := self.members(job)) == count and found, f"{count} members (now {self.members(job)})", 40)

    def finish(self, job, codes=None):
        job.stop_file.touch()
        job.wait_end(40, codes)


class ApiTest(ApiCase):
    def test_a_killed_worker_is_replaced_and_the_others_go_on(self):
        with self.standalone(3) as job:
            before = self.wait_members(job, 3)
            workers = job.workers()
            send(workers[1], signal.SIGKILL)
            job.until(lambda: len(now := self.members(job)) == 3 and now != before, "a replacement")
            self.assertTrue({workers[0], workers[2]} <= set(job.workers()))
            self.finish(job)

    def test_an_abort_is_pushed_at_once(self):
        with self.standalone(3) as job:
            self.wait_members(job, 3)
            send(job.workers()[2], signal.SIGKILL)
            job.until(lambda: len(re.findall(r"abort 2 at \d+", job.output())) == 2, "the abort at both")
            first, second = sorted(int(t) for t in re.findall(r"abort 2 at (\d+)", job.output()))
            self.measured(between_two_workers_ms=(second - first) / 1e6)
            self.assertLess(second - first, 1e9)
            self.wait_members(job, 3)
            self.finish(job)

    def test_a_worker_that_dies_before_its_first_step_in_a_loop_ends_the_job(self):
        job = self.link_job("--die-at-once")
        with job:
            job.start_agent(["--standalone", "--max-restarts", "2"])
            job.wait_end(40, [9])
            self.assertRegex(job.output(), r"death 2 of at most 2")
            self.assertRegex(job.output(), r"exited with code 9")

    def behind_a_script(self, then):
        job = self.job()
        job.stop_file = job.folder / "finish"
        job.set_program(["/bin/sh", "-c", f"{self.program('link_worker')} --finish {job.stop_file}; {then}"])
        job.start_agent(["--standalone", "--nproc-per-node", "2"])
        return job

    def test_a_worker_behind_a_script_is_known_as_such(self):
        with self.behind_a_script("exit $?") as job:
            before = self.wait_members(job, 2)
            send(descendants(job.workers()[0])[0], signal.SIGKILL)
            job.until(lambda: len(now := self.members(job)) == 2 and now != before, "a replacement")
            self.finish(job)

    def test_a_stopped_worker_behind_a_script_is_evicted_and_replaced(self):
        with self.behind_a_script("exit $?") as job:
            before = self.wait_members(job, 2)
            victim = descendants(job.workers()[0])[0]
            send(victim, signal.SIGSTOP)
            self.assert_said(job, rf"is evicted: its process {victim} is stopped by a signal")
            job.until(lambda: len(now := self.members(job)) == 2 and now != before, "a replacement")
            self.assertFalse(running(victim))
            self.finish(job)

    def test_a_script_that_outlives_its_worker_is_evicted_and_replaced(self):
        with self.behind_a_script("[ $? = 0 ] || exec sleep 1000") as job:
            before = self.wait_members(job, 2)
            send(descendants(job.workers()[0])[0], signal.SIGKILL)
            job.until(lambda: len(now := self.members(job)) == 2 and now != before, "a replacement", 60)
            self.assertRegex(job.output(), r"is evicted: its link to this agent ended")
            self.finish(job)

    def test_sigterm_to_a_worker_is_a_departure(self):
        with self.standalone(3) as job:
            before = self.wait_members(job, 3)
            send(job.workers()[0], signal.SIGTERM)
            after = self.wait_members(job, 2)
            self.assertTrue(after < before)
            self.assertNotRegex(job.output(), r"abort \d")
            self.finish(job)

    def test_sigterm_to_an_agent_lets_all_its_workers_leave(self):
        with self.nodes([1, 2]) as job:
            self.wait_members(job, 3)
            job.ended_on_purpose.add(1)
            job.agents[1].send_signal(signal.SIGTERM)
            self.wait_members(job, 1)
            job.agents[1].wait(30)
            self.assertNotRegex(job.output() + job.output(job.agents[1]), r"abort \d")
            self.finish(job)

    def test_a_stopped_worker_is_evicted_and_replaced(self):
        with self.standalone(2) as job:
            before = self.wait_members(job, 2)
            victim = job.workers()[1]
            send(victim, signal.SIGSTOP)
            job.until(lambda: len(now := self.members(job)) == 2 and now != before, "a replacement")
            self.assertFalse(running(victim))
            self.assertRegex(job.output(), r"is evicted: its process \d+ is stopped by a signal; its threads:\n.*\b\d+\b")
            self.finish(job)

    def test_a_worker_that_runs_again_between_eviction_and_kill_does_no_harm(self):
        with self.standalone(2, environment={"SPILLWAY_TEST_KILL_DELAY_MS": "700"}) as job:
            before = self.wait_members(job, 2)
            victim = job.workers()[1]
            send(victim, signal.SIGSTOP)
            self.assert_said(job, r"is evicted")
            send(victim, signal.SIGCONT)
            job.until(lambda: len(now := self.members(job)) == 2 and now != before, "a replacement")
            until(lambda: not running(victim), "the end of the evicted worker", 10)
            self.finish(job)

    def refused(self, pattern, *flags):
        with self.nodes([1]) as job:
            self.wait_members(job, 1)
            job.ended_on_purpose.add(1)
            job.start_agent(["--nnodes", "1:4", "--rdzv-endpoint", job.coordinator.endpoint, "--rdzv-id", "job"],
                            program=[self.program("link_worker"), *flags])
            until(lambda: job.agents[1].poll() is not None, "the end of the refused agent", 30)
            self.assertEqual(job.agents[1].returncode, 5)
            self.assertRegex(job.output(job.agents[1]), pattern)
            self.finish(job, [0, 5])

    def test_another_model_is_refused_with_the_first_difference(self):
        self.refused(r"weight float32 \[2,3\]", "--model", "bias")

    def test_a_second_run_under_the_name_of_one_that_has_ended(self):
        with self.nodes([1]) as job:
            self.wait_members(job, 1)
            job.stop_file.touch()
            job.until(lambda: job.agents[0].poll() is not None, "the end of the first run", 30)
            self.assertEqual(job.agents[0].returncode, 0)
            self.add(job, 1)
            job.wait_end(20, [0, 76])
            self.assertRegex(job.output(job.agents[1]), r"job job has ended here \(finished.*another --rdzv-id")

    def test_another_version_is_refused(self):
        self.refused(r"runs Spillway 99\.0 \(protocol \d+\), the coordinator runs .*install one version", "--another-version")

    def test_status_and_explain(self):
        with self.standalone(2) as job:
            self.wait_members(job, 2)
            report = json.loads(self.ask(job, "status", "--json"))
            self.assertEqual(report["epoch"], 1)
            text = self.ask(job, "explain")
            self.assertRegex(text, r"next: ")
            self.assertRegex(text, r"P2 .*epoch 1 of 2 members")
            self.finish(job)


class NodesTest(ApiCase):
    def test_kill_9_of_the_coordinator_and_its_return(self):
        with self.nodes([1, 1]) as job:
            before = self.wait_members(job, 2)
            job.coordinator.kill()
            self.assert_said(job, r"the coordinator is away")
            self.assert_said(job, r"link down")
            job.coordinator.start()
            self.assertEqual(self.wait_members(job, 2), before)
            self.assertEqual(json.loads(self.ask(job, "status", "--json"))["epoch"],
                             max(int(n) for n in re.findall(r"number (\d+) of", job.output())))
            send(job.workers(1)[0], signal.SIGKILL)
            job.until(lambda: len(now := self.members(job)) == 2 and now != before, "a replacement after its return")
            self.finish(job)

    def test_a_stopped_coordinator_is_found_silent_and_heard_again(self):
        with self.nodes([2]) as job:
            before = self.wait_members(job, 2)
            send(job.coordinator.process.pid, signal.SIGSTOP)
            self.assert_said(job, r"silent for \d+ ms", timeout_s=20)
            send(job.coordinator.process.pid, signal.SIGCONT)
            self.assert_said(job, r"has its coordinator again", timeout_s=20)
            self.assertEqual(self.wait_members(job, 2), before)
            self.finish(job)

    def test_kill_9_of_an_agent_costs_its_workers_only(self):
        with self.nodes([1, 2]) as job:
            self.wait_members(job, 3)
            workers = job.workers(1)
            job.ended_on_purpose.add(1)
            job.agents[1].kill()
            until(lambda: not any(running(pid) for pid in workers), "the end of its workers", 10)
            self.wait_members(job, 1)
            self.add(job, 1)
            self.wait_members(job, 2)
            self.finish(job, [0, -signal.SIGKILL, 0])

    def test_the_coordinator_inside_an_agent_stays_for_the_others(self):
        with self.link_job() as job:
            endpoint = f"127.0.0.1:{self.port()}"
            flags = ["--nnodes", "1:2", "--rdzv-endpoint", endpoint, "--rdzv-id", "carried"]
            for _ in range(2):
                job.start_agent(flags)
            carrier = until(lambda: [a for a in job.agents if "nobody listened" in job.output(a)], "an agent with the coordinator")[0]
            job.coordinator = type("Carried", (), {"endpoint": endpoint})()
            self.wait_members(job, 2)
            carrier.send_signal(signal.SIGTERM)
            until(lambda: "stays for 1 other node" in job.output(carrier), "the agent that stays", 30)
            self.assertEqual(len(self.members(job)), 1)
            self.finish(job)

    def lose_store(self, job):
        job.coordinator.kill()
        for path in job.folder.glob("coordinator.db*"):
            path.unlink()

    def test_a_lost_store_is_made_up_for_when_all_members_agree(self):
        with self.nodes([1, 1]) as job:
            before = self.wait_members(job, 2)
            self.lose_store(job)
            job.coordinator.start()
            self.assertEqual(self.wait_members(job, 2), before)
            self.finish(job)

    def test_a_lost_store_goes_on_with_who_is_left_after_adopt(self):
        with self.nodes([1, 1]) as job:
            before = self.wait_members(job, 2)
            self.lose_store(job)
            job.ended_on_purpose.add(1)
            job.agents[1].kill()
            job.coordinator.start()
            advice = job.until(lambda: re.search(r"spillway (adopt \S+)", self.try_explain(job)), "the advice to adopt", 40)
            self.ask(job, *advice.group(1).split())
            after = self.wait_members(job, 1)
            self.assertTrue(after < before)
            self.finish(job, [0, -signal.SIGKILL])

    def try_explain(self, job):
        done = subprocess.run([self.program("spillway"), "explain", "--endpoint", self.endpoint(job)], capture_output=True, text=True,
                              timeout=30, check=False)
        return done.stdout

    def test_abandon_names_who_is_unknown(self):
        with self.nodes([1]) as job:
            self.wait_members(job, 1)
            done = subprocess.run([self.program("spillway"), "abandon", "77", "--endpoint", self.endpoint(job)], capture_output=True,
                                  text=True, timeout=30, check=False)
            self.assertEqual(done.returncode, 127, done.stderr)
            self.assertRegex(done.stderr, r"no worker 77")
            self.finish(job)


if __name__ == "__main__":
    main()
