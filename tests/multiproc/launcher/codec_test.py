#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""`spillway codec`: tables of errors, frames as files, and what it refuses."""
import array
import json
import math
import random
import subprocess

from case import JobCase, main

USAGE, SYSTEM, DAMAGED, NOT_FOUND = 2, 71, 76, 127


class CodecTest(JobCase):
    def setUp(self):
        self.folder = self.enterContext(self.job([])).folder
        rng = random.Random(1)
        self.values = array.array("f", (rng.gauss(0, 1e-3) for _ in range(10000)))
        self.raw = self.file("gradient.f32", self.values.tobytes())

    def file(self, name, content):
        path = self.folder / name
        path.write_bytes(content)
        return path

    def codec(self, *arguments, code=0):
        done = subprocess.run([self.program("spillway"), "codec", *map(str, arguments)], capture_output=True, text=True, timeout=30,
                              check=False)
        self.assertEqual(done.returncode, code, done.stderr)
        return done.stdout if code == 0 else done.stderr

    def decoded(self, codec, *flags):
        frame, back = self.folder / codec, self.folder / f"{codec}.f32"
        self.codec("encode", self.raw, "--codec", codec, "--output", frame, *flags)
        self.assertRegex(self.codec("verify", frame), rf"{codec} version 1, \d+ elements, 0 poisoned: whole and well-formed")
        self.codec("decode", frame, "--output", back)
        return array.array("f", back.read_bytes())

    def test_the_table_says_what_a_round_trip_through_files_shows(self):
        table = {row["codec"]: row for row in json.loads(self.codec("info", self.raw, "--json"))["codecs"]}
        self.assertEqual(list(table), ["raw32", "raw16", "q8", "q4", "q2", "tk32", "tk64", "tk128"])
        for name, row in table.items():
            back = self.decoded(name)
            noise = sum((v - b) ** 2 for v, b in zip(self.values, back, strict=True))
            signal = sum(v * v for v in self.values)
            if noise == 0:
                self.assertEqual((name, row["snr_db"]), ("raw32", None))
            else:
                self.assertAlmostEqual(row["snr_db"], 10 * math.log10(signal / noise), places=3)
            self.assertAlmostEqual(row["max_error"], max(abs(v - b) for v, b in zip(self.values, back, strict=True)), delta=1e-9)
            self.assertAlmostEqual(row["ratio"], 40000 / row["frame_bytes"], places=4)
            self.assertEqual((self.folder / name).stat().st_size, row["frame_bytes"])
        self.assertEqual(self.decoded("raw32"), self.values)
        self.assertEqual(len(self.codec("info", self.raw).splitlines()), 10)

    def test_threads_and_types(self):
        self.assertEqual(self.decoded("q4"), self.decoded("q4", "--threads", "3"))
        halves = self.file("ones.bf16", b"\x80\x3f" * 5000)
        self.codec("encode", halves, "--type", "bf16", "--codec", "raw16", "--output", self.folder / "ones")
        self.codec("decode", self.folder / "ones", "--output", self.folder / "ones.f32")
        self.assertEqual(array.array("f", (self.folder / "ones.f32").read_bytes()), array.array("f", [1.0] * 5000))

    def test_poison_is_counted(self):
        self.values[3000] = math.nan
        poisoned = self.file("poisoned.f32", self.values.tobytes())
        table = {row["codec"]: row for row in json.loads(self.codec("info", poisoned, "--json"))["codecs"]}
        self.assertEqual({row["poisoned"] for row in table.values()}, {1})

    def test_damage_is_found_wherever_it_is(self):
        frame = self.folder / "frame"
        self.codec("encode", self.raw, "--output", frame)
        whole = frame.read_bytes()
        rng = random.Random(2)
        for at in [0, 5, 60, 127, *(rng.randrange(len(whole)) for _ in range(30))]:
            bad = self.file("bad", whole[:at] + bytes([whole[at] ^ 1 << rng.randrange(8)]) + whole[at + 1:])
            self.codec("verify", bad, code=DAMAGED)
            self.codec("decode", bad, "--output", self.folder / "never", code=DAMAGED)
        for size in (0, 1, 127, 128, len(whole) - 1):
            self.codec("verify", self.file("short", whole[:size]), code=DAMAGED)
        self.codec("verify", self.file("long", whole + b"x"), code=DAMAGED)
        self.assertFalse((self.folder / "never").exists())
        self.assertRegex(self.codec("verify", self.raw, code=DAMAGED), r"does not begin with SPWF")

    def test_wrong_arguments(self):
        self.assertRegex(self.codec("verfy", self.raw, code=USAGE), r"did you mean 'verify'")
        self.assertRegex(self.codec("info", code=USAGE), r"usage: spillway codec")
        self.assertRegex(self.codec("info", self.raw, "--typ", "fp32", code=USAGE), r"--typ; did you mean --type")
        self.assertRegex(self.codec("info", self.raw, "--type", "fp8", code=USAGE), r"must be fp32, bf16 or fp16")
        self.assertRegex(self.codec("info", self.raw, "--threads", "0", code=USAGE), r"between 1 and 1024")
        self.assertRegex(self.codec("encode", self.raw, code=USAGE), r"needs --output")
        self.assertRegex(self.codec("encode", self.raw, "--codec", "q9", "--output", "x", code=USAGE), r"there are raw32")
        self.assertRegex(self.codec("info", self.file("odd", b"12345"), code=USAGE), r"5 bytes are no whole number")
        self.assertRegex(self.codec("info", self.file("empty", b""), code=USAGE), r"no elements")
        self.codec("info", self.folder / "nothing", code=NOT_FOUND)
        self.codec("encode", self.raw, "--output", self.folder / "no" / "folder", code=SYSTEM)
        self.assertRegex(self.codec("--help"), r"(?s)Ends with.*76")


if __name__ == "__main__":
    main()
