#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A bit that flips in one replica: the others outvote it and it copies anew; two cannot tell, and say so."""
import re

from case import JobCase, main
from events import judge

STATE_MB = 2
BYTES_PER_STEP = 256 * 1024
CYCLE = STATE_MB * 2**20 // BYTES_PER_STEP + 1  # steps in which every part of the state was compared once
FLIP_STEP = 40


class ReplicasTest(JobCase):
    def flags(self, worker):
        return ["--state-mb", STATE_MB, "--flip-bit-step", FLIP_STEP, "--flip-bit-worker", worker]

    def test_a_flipped_bit_in_one_of_three_is_named_within_a_cycle(self):
        with self.standalone(3, self.flags(2)) as job:
            job.wait_step(FLIP_STEP + CYCLE + 20)
            job.wait_steady(3)
            job.stop_file.touch()
            job.wait_end(30)
            report = judge(self.program("spillway_check_log"), job.logs)
            # The logs show what happened: only worker 2 differed, and only from the flip to the copy.
            self.assertFalse(report["replicas_equal"])
            wrong = [(f["invariant"], int(re.search(r",(\d+)\)", f["what"]).group(1))) for f in report["findings"]]
            self.assertEqual({kind for kind, _ in wrong}, {"equal-states"})
            self.assertEqual({w for f in report["findings"] for w in re.findall(r"worker (\d+) has another state", f["what"])}, {"2"})
            steps = sorted({step for _, step in wrong})
            self.assertEqual([report["samples_lost"], report["samples_doubled"]], [0, 0])
            self.assertGreaterEqual(steps[0], FLIP_STEP)
            self.assertLessEqual(steps[-1], FLIP_STEP + CYCLE)
            self.assertRegex(job.output(), r"(?i)worker 2\b.*(differ|hash)|(differ|hash).*worker 2\b")
            self.measured(wrong_from_step=steps[0], to_step=steps[-1], cycle=CYCLE)

    def test_two_cannot_tell_and_end_with_a_typed_error(self):
        with self.toy_job(self.flags(2)) as job:
            job.start_agent(["--standalone", "--nproc-per-node", "2", "--max-restarts", "0"])
            job.until(lambda: job.agents[0].poll() is not None or job.log.step() > FLIP_STEP + CYCLE + 20, "the end of the job", 60)
            job.ended_on_purpose.add(0)
            job.until(lambda: job.agents[0].poll() is not None, f"the end of the job (step {job.log.step()})", 30)
            self.assertNotIn(job.agents[0].returncode, (0, None))
            self.assertRegex(job.output(), r"FAILED_PRECONDITION|(?i:no majority)")
            self.measured(ended_at_step=job.log.step(), code=job.agents[0].returncode)


if __name__ == "__main__":
    main()
