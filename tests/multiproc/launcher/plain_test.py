#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Programs without the API under `spillway run`: treated as torchrun treats them, and nothing is left behind."""
import os
import pathlib
import re
import resource
import signal
import subprocess
import sys

from case import ROOT, JobCase, main
from processes import descendants, running, send, until

GLOO = str(ROOT / "tests/e2e/gloo_program.py")


def shell(text):
    return ["/bin/sh", "-c", text]


class PlainTest(JobCase):
    def run_to_end(self, code, program, *flags, environment=None, timeout_s=30):
        with self.job(program, environment) as job:
            job.start_agent(flags or ["--standalone"])
            job.wait_end(timeout_s, [code])
            return job.output()

    def test_all_restart_on_a_loss_with_a_new_port_each_time(self):
        text = self.run_to_end(0, shell("echo rank $RANK attempt $TORCHELASTIC_RESTART_COUNT port $MASTER_PORT;"
                                        "[ $TORCHELASTIC_RESTART_COUNT = 2 ] || { [ $RANK = 1 ] && kill -SEGV $$; exec sleep 60; }"),
                               "--standalone", "--nproc-per-node", "2", "--max-restarts", "2")
        said = re.findall(r"rank (\d) attempt (\d) port (\d+)", text)
        # Rank 0 may be ended before it has said a word, but for the last time.
        self.assertLessEqual({("1", "0"), ("1", "1"), ("1", "2"), ("0", "2")}, {line[:2] for line in said})
        ports = {attempt: {p for _, a, p in said if a == attempt} for attempt in "012"}
        self.assertTrue(all(len(one) == 1 for one in ports.values()), ports)
        self.assertEqual(len(set.union(*ports.values())), 3)
        self.assertRegex(text, r"SIGSEGV")

    def test_max_restarts_is_the_end_with_last_lines_and_reason(self):
        text = self.run_to_end(128 + signal.SIGABRT, shell("echo some words; echo last words >&2; kill -ABRT $$"),
                               "--standalone", "--max-restarts", "2")
        self.assertEqual(len(re.findall(r"worker \(pid \d+\) was killed by SIGABRT", text)), 3)
        self.assertRegex(text, r"its last lines on stderr:\n\s+last words")
        self.assertRegex(text, r"no restarts left of 2")

    def test_a_program_that_is_gone_or_no_program_any_more_at_its_restart(self):
        for change, code, words in (("rm $0", 127, "No such file"), ("chmod a-x $0", 126, "Permission denied")):
            with self.subTest(change), self.job() as job:
                program = job.folder / "program"
                program.write_text(f"#!/bin/sh\n{change}\nexit 3\n")
                program.chmod(0o755)
                job.set_program([str(program)])
                job.start_agent(["--standalone", "--nproc-per-node", "2", "--max-restarts", "1000000"])
                job.wait_end(20, [code])
                self.assertRegex(job.output(), rf"could not be started|{words}")

    def test_an_ignored_sigchld_of_the_parent_hides_no_exit(self):
        ignoring = "import os, signal, sys; signal.signal(signal.SIGCHLD, signal.SIG_IGN); os.execv(sys.argv[1], sys.argv[1:])"
        done = subprocess.run([sys.executable, "-c", ignoring, self.program("spillway"), "run", "--standalone", *shell("exit 7")],
                              timeout=20, check=False, capture_output=True)
        self.assertEqual(done.returncode, 7)

    def test_no_restart_is_torchruns_default(self):
        self.assertNotRegex(self.run_to_end(3, shell("exit 3")), r"restart 1")

    def test_ranks_world_and_environment(self):
        text = self.run_to_end(0, shell("echo $RANK:$LOCAL_RANK:$WORLD_SIZE:$LOCAL_WORLD_SIZE:$GROUP_RANK:$TORCHELASTIC_USE_AGENT_STORE"
                                        ":$TORCHELASTIC_RUN_ID:$SPILLWAY_JOB:$SPILLWAY_SLOT:$MASTER_ADDR"),
                               "--standalone", "--nproc-per-node", "2", "--rdzv-id", "named")
        for rank in "01":
            self.assertIn(f"{rank}:{rank}:2:2:0:False:named:named:{rank}:127.0.0.1", text)

    def test_redirects_tee_and_prefix(self):
        with self.job(shell("echo out $RANK; echo err $RANK >&2")) as job:
            logs = job.folder / "logs"
            job.start_agent(["--standalone", "--nproc-per-node", "2", "--log-dir", str(logs), "--redirects", "1", "--tee", "2",
                             "--log-line-prefix-template", "<${role_name} ${rank}> ", "--role", "trainer"])
            job.wait_end()
            text = job.output()
            for rank in "01":
                folder = next(logs.glob(f"*/attempt_0/{rank}"))
                self.assertEqual((folder / "stdout.log").read_text(), f"out {rank}\n")
                self.assertEqual((folder / "stderr.log").read_text(), f"err {rank}\n")
                self.assertNotIn(f"out {rank}", text)
                self.assertIn(f"<trainer {rank}> err {rank}", text)

    def test_a_full_disk_for_logs_costs_lines_and_not_the_program(self):
        with self.job(shell("i=0; while [ $i -lt 3000 ]; do echo line $i of many; i=$((i+1)); done; echo all written")) as job:
            limit = resource.getrlimit(resource.RLIMIT_FSIZE)
            # No file of the agent may grow beyond this: the same to who writes as a full disk.
            resource.setrlimit(resource.RLIMIT_FSIZE, (8192, limit[1]))
            try:
                job.start_agent(["--standalone", "--log-dir", str(job.folder / "logs"), "--redirects", "1"])
            finally:
                resource.setrlimit(resource.RLIMIT_FSIZE, limit)
            job.wait_end()
            self.assertRegex(job.output(), r"ALARM: log .*stdout.log cannot be written")

    def test_a_console_that_nobody_reads_holds_up_nothing(self):
        reader, writer = os.pipe()
        flags = ["run", "--standalone", "--nproc-per-node", "2", "--max-restarts", "100000", "--shutdown-timeout", "1"]
        with self.job() as job:
            # Workers that keep ending, so that the agent has much to say.
            process = subprocess.Popen([self.program("spillway"), *flags, *shell(f"echo x >> {job.folder}/starts; exit 1")],
                                       stdout=writer, stderr=writer, stdin=subprocess.DEVNULL)
            try:
                starts = job.folder / "starts"
                until(lambda: starts.exists() and starts.stat().st_size > 2 * 2000, "restarts beyond what a pipe takes", 60)
                process.send_signal(signal.SIGTERM)
                self.assertEqual(process.wait(20), 128 + signal.SIGTERM)
            finally:
                process.kill()
                os.close(reader)
                os.close(writer)

    def test_sigterm_to_the_agent_ends_the_workers_and_their_children(self):
        with self.job(shell("sleep 1000 & sleep 1000")) as job:
            job.start_agent(["--standalone", "--nproc-per-node", "2"])
            job.until(lambda: len(descendants(job.agents[0].pid)) >= 7, "two workers with their children")
            job.agents[0].send_signal(signal.SIGTERM)
            job.wait_end(30, [128 + signal.SIGTERM])

    def test_a_worker_that_ignores_sigterm_is_killed_after_the_timeout(self):
        with self.job(shell("trap '' TERM; echo deaf; while :; do sleep 1; done")) as job:
            job.start_agent(["--standalone", "--shutdown-timeout", "0.5"])
            self.assert_said(job, "deaf")
            job.agents[0].send_signal(signal.SIGTERM)
            job.wait_end(20, [128 + signal.SIGTERM])

    def test_a_worker_that_crashes_while_it_ends_is_told(self):
        with self.job(shell("trap 'echo last words >&2; kill -SEGV $$' TERM; echo ready; while :; do sleep 0.1; done")) as job:
            job.start_agent(["--standalone"])
            self.assert_said(job, "ready")
            job.agents[0].send_signal(signal.SIGTERM)
            job.wait_end(20, [128 + signal.SIGTERM])
            self.assertRegex(job.output(), r"(?s)worker \(pid \d+\) was killed by SIGSEGV.*last words")

    def test_kill_9_of_the_agent_takes_workers_and_their_children_along(self):
        with self.job(shell("sleep 1000 & sleep 1000")) as job:
            job.start_agent(["--standalone", "--nproc-per-node", "2"])
            job.until(lambda: len(descendants(job.agents[0].pid)) >= 7, "two workers with their children")
            everybody = descendants(job.agents[0].pid)
            job.agents[0].kill()
            until(lambda: not any(running(pid) for pid in everybody), "the end of everybody", 10)
            job.wait_end(10, [-signal.SIGKILL])

    def test_a_stopped_worker_is_killed_and_counts_as_a_loss(self):
        with self.job(shell("echo started $$; exec sleep 1000")) as job:
            job.start_agent(["--standalone"])
            self.assert_said(job, r"started \d+")
            send(int(re.search(r"started (\d+)", job.output()).group(1)), signal.SIGSTOP)
            job.wait_end(20, [128 + signal.SIGKILL])
            self.assertRegex(job.output(), r"is evicted: its process \d+ is stopped by a signal; its threads:")


class RoundsTest(JobCase):
    """Plain programs on several agents: rounds are agreed on through the coordinator."""

    def two_agents(self, program, *flags, environment=None):
        job = self.job(program, environment)
        endpoint = f"127.0.0.1:{self.port()}"
        for _ in range(2):
            job.start_agent(["--nnodes", "2", "--rdzv-endpoint", endpoint, "--rdzv-id", "rounds", *flags])
        return job

    def test_gloo_on_two_agents_restarts_on_both(self):
        venv = pathlib.Path(os.environ.get("SPILLWAY_VENV", ROOT / ".venv"))
        with self.two_agents([GLOO, "--fail-first"], "--max-restarts", "1", environment={"PYTHON_EXEC": str(venv / "bin/python")}) as job:
            job.wait_end(100)
            text = "".join(job.output(agent) for agent in job.agents)
            said = sorted(re.findall(r"rank (\d) of (\d), attempt (\d): sum (\d+)", text))
            # As under torchrun, the attempt counts the losses of one's own node.
            self.assertEqual(said, [("0", "2", "0", "3"), ("1", "2", "1", "3")])

    def test_a_node_that_fails_after_the_other_has_ended_well_ends_with_its_code(self):
        with self.two_agents(shell("[ $GROUP_RANK = 0 ] && exit 0; sleep 1; exit 3"), "--max-restarts", "1") as job:
            job.ended_on_purpose = {0, 1}
            until(lambda: all(agent.poll() is not None for agent in job.agents), "the end of both agents", 20)
            self.assertEqual(sorted(agent.returncode for agent in job.agents), [0, 3])

    def test_a_node_that_waits_while_the_others_end_well_is_told(self):
        with self.job(shell("echo rank $RANK; sleep 3")) as job:
            endpoint = f"127.0.0.1:{self.port()}"
            flags = ["--nnodes", "2:3", "--rdzv-endpoint", endpoint, "--rdzv-id", "rounds"]
            job.start_agent(flags)
            job.start_agent(flags)
            self.assert_said(job, "rank 0|rank 1")
            job.start_agent(flags)
            job.wait_end(20)
            self.assertRegex(job.output(job.agents[2]), r"job rounds was done before this node could take part")

    def test_every_round_has_a_port_of_its_own_on_all_nodes(self):
        # Two losses on one node, the attempts of which that node counts.
        program = shell("echo rank $RANK port $MASTER_PORT; [ $RANK = 1 ] && [ $TORCHELASTIC_RESTART_COUNT -lt 2 ] && exit 3;"
                        " exec sleep 1")
        with self.two_agents(program, "--max-restarts", "2") as job:
            job.wait_end(60)
            text = "".join(job.output(agent) for agent in job.agents)
            ports = [set(re.findall(rf"rank {rank} port (\d+)", text)) for rank in "01"]
            self.assertEqual(len(ports[1]), 3, ports)
            # Rank 0 may be ended before it has said a word, but for the last time.
            self.assertTrue(ports[0] and ports[0] <= ports[1], ports)

    def test_without_restarts_left_both_end_with_the_workers_code(self):
        with self.two_agents(shell("[ $RANK = 0 ] && exit 7; exec sleep 1000")) as job:
            job.wait_end(60, [7, 7])

    def test_unequal_counts_have_one_world(self):
        with self.job(shell("echo rank $RANK of $WORLD_SIZE group $GROUP_RANK local $LOCAL_RANK of $LOCAL_WORLD_SIZE")) as job:
            endpoint = f"127.0.0.1:{self.port()}"
            for workers in ("1", "2"):
                job.start_agent(["--nnodes", "2", "--rdzv-endpoint", endpoint, "--rdzv-id", "x", "--nproc-per-node", workers])
            job.wait_end(60)
            text = "".join(job.output(agent) for agent in job.agents)
            ranks = sorted(re.findall(r"rank (\d) of 3 group (\d) local (\d) of (\d)", text))
            self.assertEqual([line[0] for line in ranks], ["0", "1", "2"])
            self.assertEqual(len({line[1] for line in ranks}), 2)

    def test_too_few_nodes_within_the_join_timeout(self):
        with self.job(shell("exit 0")) as job:
            job.start_agent(["--nnodes", "2", "--rdzv-endpoint", f"127.0.0.1:{self.port()}", "--rdzv-id", "x", "--join-timeout", "1"])
            job.wait_end(30, [75])
            self.assertRegex(job.output(), r"fewer than 2 nodes came within --join-timeout")


if __name__ == "__main__":
    main()
