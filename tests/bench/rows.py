# SPDX-License-Identifier: Apache-2.0
"""The rows that run.sh knows. An id is never used again for something else."""
import json
import os
import signal
import statistics

import measure
from measure import ROOT, Row, Samples, run_json
import job
import rows_codec
from processes import boot_ns

MLP = "MLP 784-256-10, batch 64, AdamW, 1 thread a worker"
KILLS = 50
REPLACEMENTS = 20


def train(bench, mode, workers, *more):
    command = [bench.program("train_bench"), "--mode", mode, "--workers", str(workers), "--steps", "400", *more]
    return lambda: run_json(command)["steps_per_s"]


def ddp(bench):
    command = [str(bench.venv_python), str(ROOT / "tests/bench/ddp_gloo.py"), "--workers", "2", "--steps", "400"]
    return lambda: run_json(command)["steps_per_s"]


def two_against_bare(bench):
    return bench.interleave(train(bench, "runtime", 2), train(bench, "bare", 2))


def two_against_ddp(bench):
    return bench.interleave(train(bench, "runtime", 2), ddp(bench))


def one_against_bare(bench):
    """With libtorch's own optimizer step on both sides: the runtime's fused one is faster and would hide what it costs."""
    found = bench.interleave(train(bench, "runtime", 1, "--plain-update"), train(bench, "bare", 1))
    fused = statistics.median(train(bench, "runtime", 1)() for _ in range(bench.repeat))
    found.note = f"as it comes, with fused updates: {fused:.0f} steps/s"
    return found


def kills(bench):
    """50 kills of one of three workers, each after the job is whole again: [(next step, one step)]. Steps of 5 ms: shorter ones would fill the logs faster than the driver reads them beside three busy workers."""
    def produce():
        results = []
        program = [bench.program("toy_worker"), "--steps", "1000000", "--step-ms", "5"]
        with job.Job(bench.program("spillway"), program, ["--standalone", "--nproc-per-node", "3", "--max-restarts", str(KILLS + 1)]) as run:
            for _ in range(KILLS):
                run.wait_steady(3)
                next_ms, _, resumed_ns = run.kill_one()
                results.append((next_ms, statistics.median(run.log.step_ms(resumed_ns - 1, boot_ns()) or [0.0])))
        return results
    return bench.shared("kills", produce)


def kill_to_next_step(bench):
    found = kills(bench)
    step = statistics.median(s for _, s in found)
    return Samples([n - s for n, s in found], note=f"{len(found)} kills; one step of {step:.1f} ms is taken off each")


def replacement(bench):
    """A worker of the example: its process loads libtorch, reads the data set and copies the state."""
    program = [bench.program("02_fashion_mnist"), "100000"]
    flags = ["--standalone", "--nproc-per-node", "3", "--max-restarts", str(REPLACEMENTS + 1)]
    replaced = []
    with job.Job(bench.program("spillway"), program, flags) as run:
        for _ in range(REPLACEMENTS):
            run.wait_steady(3)
            replaced.append(run.kill_one()[1])
    return Samples(replaced, note=f"{REPLACEMENTS} kills")


def changes(bench, name, flags, program, before, disturb, after):
    def produce():
        extra, aborted = [], 0
        for _ in range(bench.repeat):
            with job.Job(bench.program("spillway"), [bench.program("toy_worker"), *program], flags) as run:
                run.wait_steady(before)
                worst, aborts = run.change(lambda run=run: disturb(run), after)
                extra.append(worst)
                aborted += aborts
        return Samples(extra, note=f"{aborted} aborted steps"), aborted
    return bench.shared(name, produce)


def join(bench):
    endpoint = f"127.0.0.1:{29400 + os.getpid() % 500}"
    flags = ["--nnodes", "1:2", "--nproc-per-node", "2", "--rdzv-endpoint", endpoint, "--rdzv-id", "join"]
    late = ["--nnodes", "1:2", "--nproc-per-node", "1", "--rdzv-endpoint", endpoint, "--rdzv-id", "join"]
    program = ["--steps", "1000000", "--state-mb", "100", "--step-ms", "200"]
    return changes(bench, "join", flags, program, 2, lambda run: run.agents.append(run.start_agent(late)), 3)


def leave(bench):
    flags = ["--standalone", "--nproc-per-node", "3"]
    return changes(bench, "leave", flags, ["--steps", "1000000"], 3,
                   lambda run: os.kill(run.workers()[-1], signal.SIGTERM), 2)


def membership(bench, column):
    command = [bench.program("core_membership_bench"), "--members", "16384"]
    return Samples([run_json(command)[column] for _ in range(bench.repeat)])


def vote(bench):
    """From the last reduced bucket to the applied step of two workers: totals with the bitmap, votes with the hashes,
    and the apply of a toy. The slower of the two counts."""
    ours, words = [], []
    program = [bench.program("toy_worker"), "--steps", "3000", "--parameters", "1000"]
    for _ in range(bench.repeat):
        with job.Job(bench.program("spillway"), program, ["--standalone", "--nproc-per-node", "2"], {"SPILLWAY_EVENT_LOG_DIR": ""}) as run:
            run.wait_end(60)
            ends = [json.loads(line) for line in run.output().splitlines() if line.startswith('{"worker"')]
        ours.append(max(end["settle_us"] for end in ends))
        words.append(max(end["vote_us"] for end in ends))
    return Samples(ours, note=f"the exchange of votes alone: {statistics.median(words):.0f} us")


ROWS = [
    Row("core.steps_2p", f"{MLP}, 2 workers, against two bare libtorch loops side by side", "steps/s", "ratio >= 0.7",
        lambda s: s.ratio >= 0.7, two_against_bare, "two bare libtorch loops"),
    Row("core.steps_2p_ddp", f"{MLP}, 2 workers, against PyTorch DDP over Gloo", "steps/s", "ratio >= 2",
        lambda s: s.ratio >= 2, two_against_ddp, "PyTorch 2.13 DDP, Gloo"),
    Row("core.overhead_1p", f"{MLP}, 1 worker, plain updates, against a bare libtorch loop", "steps/s", "ratio >= 0.98",
        lambda s: s.ratio >= 0.98, one_against_bare, "a bare libtorch loop"),
    Row("core.kill_to_next_step", "kill -9 of one of 3 workers, steps of 5 ms, to the next applied step, less one step", "ms",
        "median <= 50, all <= 1000", lambda s: s.value <= 50 and max(s.ours) <= 1000, kill_to_next_step),
    Row("core.replacement", "kill -9 of one of 3 workers of 02_fashion_mnist to its replacement's first applied step", "ms", "median <= 2000",
        lambda s: s.value <= 2000, replacement),
    Row("core.join_100mb", "a worker joins, 100 MB of state, steps of 200 ms: longest extra step of the others", "ms",
        "<= 50, 0 aborted", lambda s: s.value <= 50 and s.note.startswith("0 "), lambda b: join(b)[0]),
    Row("core.planned_leave", "one of 3 workers leaves on SIGTERM: longest extra step of the others", "ms",
        "<= 20, 0 aborted", lambda s: s.value <= 20 and s.note.startswith("0 "), lambda b: leave(b)[0]),
    Row("core.coordinator_16384", "coordinator core, 16,384 members, one lost: time to decide", "ms", "<= 5",
        lambda s: s.value <= 5, lambda b: membership(b, "decide_ms")),
    Row("core.announced_16384", "the same: largest announcement to a member", "bytes", "<= 1024",
        lambda s: s.value <= 1024, lambda b: membership(b, "announced_bytes_max")),
    Row("core.vote_2p", "vote of 2 members on one host, hashes and a bitmap of 1,000 parameters", "us", "<= 100",
        lambda s: s.value <= 100, vote),
] + rows_codec.ROWS
