#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Workers that do not fit their job are refused in words that say what differs, and the others train on.

What is wrong about a command line or an address is tested in tests/multiproc/launcher.
"""
from case import JobCase, main


class RefusedWorkersTest(JobCase):
    def second_node_is_refused(self, pattern, *flags):
        """A node whose worker differs from the first node's in its flags."""
        with self.several_nodes([]) as job:
            job.set_program(self.toy("--stop-file", job.stop_file))
            self.add_node(job, 1)
            job.wait_steady(1)
            job.set_program(self.toy("--stop-file", job.stop_file, *flags))
            self.add_node(job, 1)
            job.ended_on_purpose.add(1)
            job.until(lambda: job.agents[1].poll() is not None, "the end of the refused node", 30)
            code = job.agents[1].returncode
            self.assertNotEqual(code, 0)
            self.assertRegex(job.output(job.agents[1]), pattern)
            job.wait_step(job.log.step() + 5)
            self.assertEqual(job.log.aborted(), [])
            self.stop(job, codes=[0, code])

    def test_another_shape(self):
        self.second_node_is_refused(r"weights.*\[64\].*weights.*\[262208\]|weights.*\[262208\].*weights.*\[64\]", "--state-mb", 1)

    def test_another_data_set(self):
        self.second_node_is_refused(r"(?s)960.*480|480.*960", "--samples", 480)

    def test_another_arithmetic_class(self):
        self.second_node_is_refused(r"(?s)toy.*other kind|other kind.*toy", "--arithmetic", "other kind")

    def test_a_worker_of_another_job(self):
        with self.several_nodes([1]) as job:
            job.wait_steady(1)
            strays = ["/usr/bin/env", "SPILLWAY_JOB=other", *self.toy("--stop-file", job.stop_file)]
            job.set_program(strays)
            self.add_node(job, 1)
            job.ended_on_purpose.add(1)
            job.until(lambda: job.agents[1].poll() is not None, "the end of the refused node", 30)
            self.assertRegex(job.output(job.agents[1]), r"belongs to job 'other', this is job")
            job.wait_step(job.log.step() + 5)
            self.assertEqual(job.log.aborted(), [])
            self.stop(job, codes=[0, job.agents[1].returncode])

    def test_a_data_set_smaller_than_a_batch(self):
        with self.job(self.toy("--samples", 10, "--batch", 48)) as job:
            job.start_agent(["--standalone", "--max-restarts", "0"])
            job.wait_end(30, [1])
            self.assertRegex(job.output(), r"toy_worker: .*(10.*48|48.*10)")

    def test_a_program_outside_of_spillway_run(self):
        with self.job() as job:
            job.start_agent(["--nnodes", "1"], program=["/usr/bin/env", "-u", "SPILLWAY_AGENT_SOCKET", *self.toy(steps=5)])
            job.wait_end(30, [1])
            self.assertRegex(job.output(), r"spillway run")


if __name__ == "__main__":
    main()
