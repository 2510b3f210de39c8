#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Stands in for `spillway run` in test_job.py: workers that only write event logs, replaced when killed.

Steps take 10 ms. After a kill nothing is applied for 60 ms, then a new number begins; the replacement applies
its first step 100 ms later. A worker that gets SIGTERM leaves, and the others' next step takes 25 ms.
"""
import json
import os
import signal
import subprocess
import sys
import time

STEP_S, RESUME_S, JOIN_S, LEAVE_S = 0.010, 0.060, 0.100, 0.015


def read(path):
    with open(path, encoding="utf-8") as file:
        return json.load(file)


def worker(identity, folder):
    log = open(f"{folder}/worker-{identity}.jsonl", "a", encoding="utf-8")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    step, seen = 0, None
    while True:
        time.sleep(STEP_S)
        plan = read(f"{folder}/../plan")
        if plan != seen:
            wait = plan["join_s"] if identity == plan["joiner"] else plan["pause_s"]
            while time.monotonic() < plan["since"] + wait:
                time.sleep(0.001)
            seen = plan
        step += 1
        log.write(json.dumps({"event": "applied", "worker": identity, "number": plan["number"], "step": step,
                              "t_ns": time.clock_gettime_ns(time.CLOCK_BOOTTIME)}) + "\n")
        log.flush()


def agent(arguments):
    folder = os.environ["SPILLWAY_EVENT_LOG_DIR"]
    count = int(arguments[arguments.index("--nproc-per-node") + 1])
    program = next(a for a in arguments if a.endswith("program"))
    state = {"number": 1, "joiner": 0, "pause_s": 0, "join_s": 0, "since": 0}

    def publish(**changes):
        state.update(changes, since=time.monotonic())
        with open(f"{folder}/../plan.new", "w", encoding="utf-8") as file:
            json.dump(state, file)
        os.replace(f"{folder}/../plan.new", f"{folder}/../plan")

    def start(identity):
        return subprocess.Popen([program, sys.executable, __file__, "worker", str(identity), folder],
                                env=dict(os.environ, SPILLWAY_SLOT=str(identity)))

    publish()
    alive, youngest = [start(i + 1) for i in range(count)], count
    while True:
        time.sleep(0.001)
        for one in [w for w in alive if w.poll() is not None]:
            alive.remove(one)
            if one.returncode == 0:
                publish(number=state["number"] + 1, pause_s=LEAVE_S, joiner=0)
            else:
                youngest += 1
                publish(number=state["number"] + 1, pause_s=RESUME_S, join_s=RESUME_S + JOIN_S, joiner=youngest)
                alive.append(start(youngest))


if __name__ == "__main__":
    if sys.argv[1] == "worker":
        worker(int(sys.argv[2]), sys.argv[3])
    else:
        agent(sys.argv[2:])
