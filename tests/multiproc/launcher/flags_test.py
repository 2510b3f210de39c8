#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""torchrun's flags by what real workers see of them; those of ranks, logs and restarts are in plain_test.py."""
import os
import re
import signal

from case import JobCase, main
from processes import send

SAY = "import os, sys; print('args', sys.argv[1:], 'name', __name__, 'rank', os.environ['RANK'])\n"


class FlagsTest(JobCase):
    def said(self, flags, program, environment=None, code=0, files=()):
        """What a job prints that runs in a folder with these files."""
        with self.job(program, environment) as job:
            for name, text in files:
                path = job.folder / name
                path.parent.mkdir(exist_ok=True)
                path.write_text(text)
                path.chmod(0o755)
            job.start_agent(flags)
            job.wait_end(30, [code])
            return job.output()

    def test_a_script_runs_under_python_and_gets_its_arguments(self):
        # Flags behind the program are the program's, whatever they look like.
        text = self.said(["--standalone"], ["say.py", "--nproc-per-node", "7"], files=[("say.py", SAY)])
        self.assertIn("args ['--nproc-per-node', '7'] name __main__ rank 0", text)

    def test_module(self):
        for flag in ("-m", "--module"):
            text = self.said(["--standalone", flag], ["package.say", "-x"], files=[("package/say.py", SAY), ("package/__init__.py", "")])
            self.assertIn("args ['-x'] name __main__ rank 0", text)

    def test_run_path(self):
        text = self.said(["--standalone", "--run-path"], ["say", "a", "b"], files=[("say", SAY)])
        self.assertIn("args ['a', 'b'] name __main__ rank 0", text)

    def test_no_python(self):
        files = [("program.py", "#!/bin/sh\necho a shell runs this: $1\n")]
        self.assertIn("a shell runs this: arg", self.said(["--standalone", "--no-python"], ["./program.py", "arg"], files=files))
        self.assertRegex(self.said(["--standalone"], ["./program.py", "arg"], code=1, files=files), r"SyntaxError")

    def test_counts_of_workers_by_what_the_machine_has(self):
        say = ["/bin/sh", "-c", "echo $LOCAL_RANK of $LOCAL_WORLD_SIZE"]
        cpus = os.sysconf("SC_NPROCESSORS_ONLN")
        self.assertIn(f"0 of {cpus}", self.said(["--standalone", "--nproc-per-node", "cpu"], say))
        three = {"CUDA_VISIBLE_DEVICES": "0,1,2"}
        for count in ("gpu", "auto"):
            self.assertIn("2 of 3", self.said(["--standalone", "--nproc-per-node", count], say, three))
        none = {"CUDA_VISIBLE_DEVICES": ""}
        self.assertIn(f"0 of {cpus}", self.said(["--standalone", "--nproc-per-node", "auto"], say, none))
        self.assertRegex(self.said(["--standalone", "--nproc-per-node", "gpu"], say, none, code=2), r"no GPU|gpu")

    def test_virtual_local_rank(self):
        text = self.said(["--standalone", "--nproc-per-node", "2", "--virtual-local-rank"],
                         ["/bin/sh", "-c", "echo rank $RANK local $LOCAL_RANK sees $CUDA_VISIBLE_DEVICES"],
                         {"CUDA_VISIBLE_DEVICES": "4,6"})
        self.assertIn("rank 0 local 0 sees 4", text)
        self.assertIn("rank 1 local 0 sees 6", text)

    def test_local_addr_is_where_others_reach_rank_0(self):
        say = ["/bin/sh", "-c", "echo $RANK: $MASTER_ADDR"]
        self.assertIn("0: 127.0.0.3", self.said(["--local-addr", "127.0.0.3", "--rdzv-endpoint", "127.0.0.1:0"], say))
        static = ["--rdzv-backend", "static", "--master-addr", "127.0.0.4", "--master-port", "4567", "--nnodes", "2", "--node-rank", "1"]
        text = self.said([*static, "--nproc-per-node", "2"], ["/bin/sh", "-c", "echo $RANK of $WORLD_SIZE at $MASTER_ADDR:$MASTER_PORT"])
        self.assertIn("2 of 4 at 127.0.0.4:4567", text)
        self.assertIn("3 of 4 at 127.0.0.4:4567", text)

    def test_rdzv_conf(self):
        for key in ("join_timeout", "timeout"):
            text = self.said(["--nnodes", "2", "--rdzv-endpoint", "127.0.0.1:0", "--rdzv-conf", f"{key}=1"], ["/bin/true"], code=75)
            self.assertRegex(text, r"fewer than 2 nodes came within --join-timeout")
            self.assertNotRegex(text, r"coordinator is away")
        text = self.said(["--standalone", "--rdzv-conf", "join_timeuot=1"], ["/bin/true"], code=2)
        self.assertRegex(text, r"join_timeout")

    def test_monitor_interval(self):
        # What is looked at in intervals is whether a process is stopped; its end is an event.
        for interval in ("0.05", "30"):  # at most 0.25 s are waited, which a user's restart may not wait longer for
            with self.subTest(interval), self.job(["/bin/sh", "-c", "echo pid $$ ; exec sleep 60"]) as job:
                job.start_agent(["--standalone", "--monitor-interval", interval])
                job.until(lambda: re.search(r"pid \d+\n", job.output()), "the worker")
                send(int(re.search(r"pid (\d+)", job.output())[1]), signal.SIGSTOP)
                job.wait_end(10, [128 + signal.SIGKILL])
                self.assertRegex(job.output(), r"is stopped by a signal")

    def test_signals_to_handle(self):
        with self.job(["/bin/sh", "-c", "echo up; exec sleep 60"]) as job:
            job.start_agent(["--standalone", "--signals-to-handle", "SIGUSR1"])
            self.assert_said(job, r"up")
            job.agents[0].send_signal(signal.SIGUSR1)
            job.wait_end(20, [128 + signal.SIGUSR1])
            self.assertRegex(job.output(), r"received SIGUSR1")
        text = self.said(["--standalone", "--signals-to-handle", "SIGTRM"], ["/bin/true"], code=2)
        self.assertRegex(text, r"SIGTERM")

    def test_environment_variables_stand_for_flags_and_flags_win(self):
        say = ["/bin/sh", "-c", "echo $RANK of $WORLD_SIZE"]
        three = {"PET_STANDALONE": "1", "PET_NPROC_PER_NODE": "3"}
        self.assertIn("2 of 3", self.said([], say, three))
        text = self.said(["--nproc-per-node", "2"], say, three)
        self.assertIn("1 of 2", text)
        self.assertNotIn("2 of 3", text)

    def test_what_means_nothing_here_is_said_in_a_line(self):
        for flag, value in (("--start-method", "fork"), ("--numa-binding", "node"), ("--logs-specs", "mine"), ("--event-log-handler", "mine")):
            text = self.said(["--standalone", flag, value], ["/bin/true"])
            self.assertRegex(text, rf"{flag}.*\n")


if __name__ == "__main__":
    main()
