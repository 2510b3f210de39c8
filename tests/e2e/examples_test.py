#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The examples, run by the very commands that their comments give."""
import re

from case import BIN, ROOT, JobCase, main


class ExamplesTest(JobCase):
    def run_example(self, name):
        """Its output, and what its logs say."""
        source = (ROOT / f"examples/{name}.cc").read_text()
        commands = re.findall(r"^//   spillway run (.*)$", source, re.MULTILINE)
        self.assertEqual(len(commands), 1)
        self.assertTrue(commands[0].endswith(f" build/release/bin/{name}"), commands[0])
        words = [word.replace("build/release/bin", str(BIN)) for word in commands[0].split()]
        with self.job([]) as job:
            job.start_agent(words)
            return self.end(job), job.output()

    def test_all_reduce(self):
        report, output = self.run_example("01_all_reduce")
        self.assertEqual((report["steps_applied"], report["steps_aborted"], report["workers"]), (50, 0, 3))
        self.assertEqual(re.findall(r"worker (\d) of 3 is here", output), ["0", "1", "2"])
        mean = re.findall(r"the mean of 0..99 is about (\S+)", output)
        self.assertAlmostEqual(float(mean[0]), 49.5, delta=1)

    def accuracy(self, dying=None):
        """Of one pass by three workers; `dying` is killed when it evaluates."""
        fault = {"SPILLWAY_FAULT": f"collective.called@worker={dying}:kill"} if dying else None
        with self.job([self.program("02_fashion_mnist"), "1"], fault) as job:
            job.start_agent(["--standalone", "--nproc-per-node", "3"])
            report = self.end(job)
            self.assertEqual((report["steps_applied"], self.killed(job.output())), (250, 1 if dying else 0))
            said = re.findall(r"test accuracy (\S+)", job.output())
            self.assertEqual(len(said), 1)
            return float(said[0])

    def test_an_evaluation_is_whole_whoever_dies_in_it(self):
        undisturbed = self.accuracy()
        self.assertGreater(undisturbed, 0.8)
        for worker in (1, 2, 3):
            with self.subTest(worker):
                self.assertAlmostEqual(self.accuracy(worker), undisturbed, delta=0.005)

    def test_survive_a_kill(self):
        report, output = self.run_example("03_survive_a_kill")
        self.assertEqual((report["steps_applied"], report["steps_aborted"], report["workers"]), (4000, 1, 4))
        self.assertEqual(self.killed(output), 1)
        self.assertRegex(output, r"rank 0: step 100 again, now 2 workers")
        self.assertRegex(output, r"a replacement has started")
        self.assertRegex(output, r"240000 samples, each counted once; 3 replicas are equal bit for bit")

    def killed(self, output):
        return len(re.findall(r"worker \(pid \d+\) was killed by SIGKILL", output))


if __name__ == "__main__":
    main()
