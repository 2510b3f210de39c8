#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The bench driver judges rows as README.md says, whatever the numbers are."""
import sys
import unittest

import driver
import measure
import rows


def row(measured, meets=lambda s: True, **more):
    return measure.Row("x.y", "what", "ms", "<= 1", meets, measured, **more)


def raises(reason):
    def run(_):
        raise reason
    return run


class DriverTest(unittest.TestCase):
    def judge(self, one):
        return driver.judge(one, measure.Bench(), "here")

    def test_median_spread_and_ratio(self):
        result = self.judge(row(lambda _: measure.Samples([1, 9, 2], [4, 1, 8])))
        self.assertEqual([result[k] for k in ("value", "min", "max", "baseline_value", "ratio", "met")],
                         [2, 1, 9, 4, 0.5, True])

    def test_missed_target_fails_only_when_strict(self):
        result = self.judge(row(lambda _: measure.Samples([1]), meets=lambda s: False))
        self.assertIs(result["met"], False)
        self.assertEqual([driver.exit_code([result], strict) for strict in (False, True)], [0, 1])

    def test_wrong_answer_always_fails(self):
        result = self.judge(row(raises(measure.WrongAnswer("bits differ"))))
        self.assertEqual(result["met"], "wrong: bits differ")
        self.assertEqual(driver.exit_code([result], False), 1)

    def test_skip_says_why_and_only_a_gpu_excuses_it(self):
        result = self.judge(row(raises(measure.Skipped("no baseline"))))
        self.assertEqual(result["met"], "skipped: no baseline")
        self.assertEqual([driver.exit_code([result], strict) for strict in (False, True)], [0, 1])
        result["met"] = "skipped: needs a GPU"
        self.assertEqual(driver.exit_code([result], True), 0)

    def test_samples_are_taken_in_turn_at_least_five_times(self):
        order = []
        samples = measure.Bench(repeat=1).interleave(lambda: order.append("a") or 1, lambda: order.append("b") or 2)
        self.assertEqual("".join(order), "ab" * 5)
        self.assertEqual(samples.ratio, 0.5)

    def test_a_program_that_fails_is_a_wrong_answer(self):
        with self.assertRaisesRegex(measure.WrongAnswer, "ended with 3: bad bits"):
            measure.run_json([sys.executable, "-c", "import sys; print('bad bits', file=sys.stderr); sys.exit(3)"])

    def test_a_shared_failure_is_raised_for_every_row(self):
        bench = measure.Bench()
        for _ in range(2):
            with self.assertRaises(measure.Skipped):
                bench.shared("key", lambda: raises(measure.Skipped("why"))(None))

    def test_ids_are_unique(self):
        ids = [one.id for one in rows.ROWS]
        self.assertEqual(len(ids), len(set(ids)))


if __name__ == "__main__":
    sys.exit(unittest.main())
