#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Random kills, stops, departures and arrivals, in an order that the seed decides.

SPILLWAY_CHURN_SECONDS (default 120) and SPILLWAY_CHURN_SEED choose the run; the first line printed replays it.
"""
import collections
import os
import random
import signal

from case import JobCase, main
from processes import boot_ns, send

NODES_MOST, NODES_LEAST = 4, 2


class ChurnTest(JobCase):
    def test_random_churn(self):
        seconds = float(os.environ.get("SPILLWAY_CHURN_SECONDS", "120"))
        seed = int(os.environ.get("SPILLWAY_CHURN_SEED", random.SystemRandom().randrange(10**9)))
        print(f"replay: SPILLWAY_CHURN_SEED={seed} SPILLWAY_CHURN_SECONDS={seconds:g} PYTHONPATH=tests/jobs python3 -B tests/e2e/churn_test.py", flush=True)
        self.choose, self.done, self.pauses = random.Random(seed), collections.Counter(), []
        self.asked, self.struck = set(), set()  # pids; worker ids
        with self.several_nodes([2, 2], ["--max-restarts", "1000"]) as job:
            job.wait_steady(4)
            start_ns = boot_ns()
            while boot_ns() - start_ns < seconds * 1e9:
                self.disturb(job)
            job.until(lambda: job.log.applied(boot_ns() - int(1e9)), "a step at the end", 30)
            # A node that was asked to go ends well, unless it had not begun or a worker was killed on its way out.
            codes = [{-signal.SIGKILL, -signal.SIGTERM, 0, 128 + signal.SIGTERM} if i in job.ended_on_purpose else 0 for i in range(len(job.agents))]
            report = self.stop(job, 60, codes)
        self.measured(**{name.__name__: count for name, count in self.done.items()})
        self.measured(steps=report["steps_applied"], aborted=report["steps_aborted"], numbers=report["numbers"],
                      workers=report["workers"], longest_pause_ms=max(self.pauses))
        self.assertGreater(sum(self.done.values()), seconds / 6)

    def disturb(self, job):
        """One disturbance; then some steps, or at once the next: what comes together is the harder part."""
        choices = [(self.kill_workers, 5), (self.stop_a_worker, 1), (self.ask_a_worker, 2), (self.kill_a_node, 1),
                   (self.ask_a_node, 1), (self.add_a_node, 3), (self.restart_coordinator, 1)]
        act = self.choose.choices([c for c, _ in choices], [w for _, w in choices])[0]
        wait_steps = self.choose.choice([0, 1, 20, 100])
        begun_ns = boot_ns()
        if act(job):
            self.done[act] += 1
        if wait_steps:
            job.until(lambda: len(job.log.applied(begun_ns)) >= wait_steps, f"{wait_steps} steps after {act.__name__}", 60)
            self.pauses.append(job.log.longest_pause_ms(begun_ns, boot_ns()))

    def nodes(self, job):
        """Agents that run and were not told to go."""
        return [i for i, agent in enumerate(job.agents) if i not in job.ended_on_purpose and agent.poll() is None]

    def holders(self, job):
        """{worker: pid} of the newest number's members that go on: one of them is always left alone. Who was struck is
        remembered: a signal that was sent may take a while to show in /proc, and the next disturbance is there first."""
        pids = job.worker_pids()
        leaving = self.asked | {pid for node in job.ended_on_purpose for pid in job.workers(node)}
        return {worker: pids[worker] for worker in job.log.counts()
                if worker in pids and pids[worker] not in leaving and worker not in self.struck}

    def victims(self, job, count, left):
        """{worker: pid} of some that may be disturbed, so that so many holders are left alone."""
        holders = self.holders(job)
        return {worker: holders[worker] for worker in self.choose.sample(sorted(holders), min(count, max(len(holders) - left, 0)))}

    def strike(self, victims, what):
        self.struck.update(victims)
        return [pid for pid in victims.values() if send(pid, what)]

    def kill_workers(self, job):
        return self.strike(self.victims(job, self.choose.choice([1, 1, 2]), 1), signal.SIGKILL)

    def stop_a_worker(self, job):
        return self.strike(self.victims(job, 1, 1), signal.SIGSTOP)

    def ask_a_worker(self, job):
        asked = [pid for pid in self.victims(job, 1, 3).values() if send(pid, signal.SIGTERM)]
        self.asked.update(asked)
        for node in self.nodes(job):  # whose last worker was asked ends by itself
            if not set(job.workers(node)) - self.asked:
                job.ended_on_purpose.add(node)
        return asked

    def node_to_spare(self, job):
        """A node that can go: others stay, and one of theirs holds the state."""
        nodes, holders = self.nodes(job), self.holders(job)
        spare = [node for node in nodes if set(holders.values()) - set(job.workers(node))]
        return self.choose.choice(spare) if len(nodes) > NODES_LEAST and spare else None

    def kill_a_node(self, job):
        node = self.node_to_spare(job)
        if node is None:
            return False
        job.ended_on_purpose.add(node)
        with_it = set(job.workers(node))
        self.struck.update(worker for worker, pid in job.worker_pids().items() if pid in with_it)
        job.agents[node].kill()
        job.agents[node].wait()
        return True

    def ask_a_node(self, job):
        node = self.node_to_spare(job)
        if node is None:
            return False
        job.ended_on_purpose.add(node)
        job.agents[node].send_signal(signal.SIGTERM)
        return True

    def add_a_node(self, job):
        if len(self.nodes(job)) >= NODES_MOST:
            return False
        self.add_node(job, self.choose.choice([1, 2]))
        return True

    def restart_coordinator(self, job):
        # An agent that finds nobody at an address of its own host becomes the coordinator there.
        job.until(lambda: all("is connected to its coordinator" in job.output(job.agents[i]) for i in self.nodes(job)),
                  "the first connection of every agent", 30)
        job.coordinator.kill()
        job.coordinator.start()
        return True


if __name__ == "__main__":
    main()
