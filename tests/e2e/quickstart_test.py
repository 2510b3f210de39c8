#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The quickstart does what it says, and Ctrl-C leaves nothing behind."""
import json
import os
import re
import signal
import subprocess
import tempfile
import uuid

from case import ROOT, JobCase, main
from processes import command_line, marked, until

MOST_SECONDS = 90
KEYS = {"steps_applied", "steps_aborted", "samples_lost", "samples_doubled", "replicas_equal", "kill_to_next_step_ms",
        "join_stall_ms", "test_accuracy"}


class QuickstartTest(JobCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.json, self.output = folder.name + "/results.json", folder.name + "/output"
        self.marker = f"SPILLWAY_TEST_QUICKSTART={uuid.uuid4()}"

    def start(self):
        environment = dict(os.environ)
        environment.update([self.marker.split("=")])
        with open(self.output, "wb") as output:
            process = subprocess.Popen(["bash", str(ROOT / "examples/quickstart.sh"), "--json", self.json], stdout=output,
                                       stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, env=environment, start_new_session=True)
        self.addCleanup(self.kill_all, process)
        return process

    def kill_all(self, process):
        for pid in marked(self.marker.encode()):
            os.kill(pid, signal.SIGKILL)
        process.wait(10)

    def said(self):
        with open(self.output, encoding="utf-8", errors="replace") as file:
            return file.read()

    def nothing_is_left(self):
        until(lambda: not marked(self.marker.encode()),
              lambda: f"the end of {[command_line(pid) for pid in marked(self.marker.encode())]}", 10)

    def test_it_shows_what_it_says(self):
        process = self.start()
        code = process.wait(280)
        print(self.said(), flush=True)
        self.assertEqual(code, 0)
        self.nothing_is_left()
        with open(self.json, encoding="utf-8") as file:
            results = json.load(file)
        self.assertEqual(set(results), KEYS)
        self.assertEqual([results[key] for key in ("samples_lost", "samples_doubled", "replicas_equal")], [0, 0, True])
        self.assertGreaterEqual(results["test_accuracy"], 0.87)
        took_s = max(float(seconds) for seconds in re.findall(r"^ *([0-9.]+) s  ", self.said(), re.MULTILINE))
        self.assertLess(took_s, MOST_SECONDS)

    def test_ctrl_c_leaves_nothing_behind(self):
        process = self.start()
        until(lambda: "kill -9" in self.said() or process.poll() is not None, "the first kill", 120)
        self.assertIsNone(process.poll(), self.said())
        os.killpg(process.pid, signal.SIGINT)
        self.assertEqual(process.wait(20), 128 + signal.SIGINT)
        self.nothing_is_left()


if __name__ == "__main__":
    main()
