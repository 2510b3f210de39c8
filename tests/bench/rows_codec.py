# SPDX-License-Identifier: Apache-2.0
"""Rows of the gradient codecs: 64 Mi elements, each beside what this machine's memory moves or what PyTorch does."""
import functools

from measure import ROOT, Row, Samples, run_json

ELEMENTS = 64 << 20
WHAT = "64 Mi fp32 elements, error feedback"


def once(bench, *options):
    return run_json([bench.program("codec_bench"), "--elements", str(ELEMENTS), "--repeat", "3", *options])


def beside_triad(bench, options):
    """Bytes that have to move, per second, beside those of a triad in the same process."""
    samples = Samples([])
    for _ in range(bench.repeat):
        found = once(bench, *options)
        samples.ours.append(found["moved_bytes_per_s"] / 1e9)
        samples.baseline.append(found["triad_bytes_per_s"] / 1e9)
        samples.note = f"{found['input_gib_per_s']:.2f} GiB/s of input in the last run"
    return samples


def torch(bench, operation, compiled=False):
    command = [str(bench.venv_python), str(ROOT / "tests/bench/codec_torch.py"), "--operation", operation,
               "--elements", str(ELEMENTS)] + (["--compile"] if compiled else [])
    return lambda: run_json(command)["input_gib_per_s"]


def beside_torch(bench, codec, operation, compiled=False):
    return bench.interleave(lambda: once(bench, "--codec", codec)["input_gib_per_s"], torch(bench, operation, compiled))


def two_threads(bench):
    samples = bench.interleave(lambda: once(bench, "--codec", "q8", "--threads", "2")["input_gib_per_s"],
                               lambda: once(bench, "--codec", "q8")["input_gib_per_s"])
    share = once(bench, "--codec", "q8", "--threads", "2")["share_of_triad"]
    samples.note = f"{100 * share:.0f} % of a triad of two threads"
    return samples


def at_least(ratio):
    return lambda samples: samples.ratio >= ratio


def triad_row(name, what, ratio, *options):
    return Row(f"codec.{name}", f"{what}: bytes that must move, against a triad", "GB/s", f"ratio >= {ratio}",
               at_least(ratio), functools.partial(beside_triad, options=options), "triad in the same process")


ROWS = [
    triad_row("q8_encode", f"Q8 encode, {WHAT}, 1 thread", 0.5, "--codec", "q8"),
    triad_row("q4_encode", f"Q4 encode, {WHAT}, 1 thread", 0.35, "--codec", "q4"),
    triad_row("q2_encode", f"Q2 encode, {WHAT}, 1 thread", 0.35, "--codec", "q2"),
    triad_row("q8_decode_4", "Q8 decode and add up 4 peers, 64 Mi elements, 1 thread", 0.6, "--codec", "q8", "--decode", "4"),
    Row("codec.q8_encode_compiled", f"Q8 encode, {WHAT}, 1 thread, against torch.compile", "GiB/s", "ratio >= 1.5",
        at_least(1.5), lambda b: beside_torch(b, "q8", "q8", True), "PyTorch 2.13, torch.compile"),
    Row("codec.q8_encode_eager", f"Q8 encode, {WHAT}, 1 thread, against plain PyTorch", "GiB/s", "ratio >= 5",
        at_least(5), lambda b: beside_torch(b, "q8", "q8"), "PyTorch 2.13"),
    Row("codec.tk64_encode", f"TK64 encode, {WHAT}, 1 thread, against torch.topk of each tile", "GiB/s",
        ">= 2, ratio >= 5", lambda s: s.value >= 2 and s.ratio >= 5, lambda b: beside_torch(b, "tk64", "topk"),
        "PyTorch 2.13, topk"),
    Row("codec.q8_encode_2t", f"Q8 encode, {WHAT}, 2 threads, against 1", "GiB/s", "ratio >= 1.7, or 85 % of the triad",
        lambda s: s.ratio >= 1.7 or int(s.note.split()[0]) >= 85, two_threads, "1 thread"),
]
