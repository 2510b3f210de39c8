#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The coordinator is killed, away for longer than the lease, without room for its store, or finds a damaged one."""
import re
import resource
import signal
import subprocess

from case import JobCase, main
from processes import boot_ns, send, until


class CoordinatorTest(JobCase):
    def pause(self, job, seconds):
        start_ns = boot_ns()
        job.until(lambda: boot_ns() - start_ns > seconds * 1e9, f"{seconds} s", seconds + 5)

    def test_training_goes_on_without_it_and_with_the_next_one(self):
        with self.several_nodes([3]) as job:
            job.wait_steady(3)
            number = job.log.number()
            job.coordinator.kill()
            away_ns = boot_ns()
            self.pause(job, 2)
            steps_away = len({e["step"] for e in job.log.applied(away_ns)})
            self.assertGreater(steps_away, 20)
            job.coordinator.start()
            back_ns = boot_ns()
            self.assert_said(job, r"coordinator", job.coordinator.process)
            self.pause(job, 1)
            self.assertEqual(job.log.number(), number)
            self.assertEqual(job.log.aborted(away_ns), [])
            # It knows its job again: a kill is handled.
            send(job.pid_of(3), signal.SIGKILL)
            job.until(lambda: job.log.number() > number, "a new epoch after its return", 30)
            job.wait_steady(3)
            self.stop(job)
            self.measured(steps_while_away=steps_away, longest_pause_ms=job.log.longest_pause_ms(away_ns, back_ns))

    def test_a_worker_that_dies_while_it_is_away(self):
        with self.several_nodes([3]) as job:
            job.wait_steady(3)
            number = job.log.number()
            job.coordinator.kill()
            send(job.pid_of(2), signal.SIGKILL)
            killed_ns = boot_ns()
            self.pause(job, 1)
            self.assertEqual(job.log.applied(killed_ns, number), [])
            job.coordinator.start()
            self.assertTrue({1, 3} <= job.wait_steady(3))
            self.stop(job)

    def test_members_hold_when_the_lease_ends_and_go_on_when_it_is_back(self):
        with self.several_nodes([2], ["--lease", "5"]) as job:
            job.wait_steady(2)
            number = job.log.number()
            job.coordinator.kill()
            away_ns = boot_ns()
            self.pause(job, 15)
            last = job.log.applied(away_ns)[-1]["t_ns"]
            held_after_s = (last - away_ns) / 1e9
            self.assertGreater(held_after_s, 2)
            self.assertLess(held_after_s, 6)
            job.coordinator.start()
            back_ns = boot_ns()
            first = job.wait_applied_after(back_ns, "a step after its return", 30)
            self.assertGreaterEqual(first["number"], number)
            job.wait_steady(2)
            self.stop(job)
            self.measured(held_after_s=held_after_s, resumed_after_s=(first["t_ns"] - back_ns) / 1e9)

    def test_a_full_disk_stops_changes_but_no_step(self):
        with self.several_nodes([3]) as job:
            job.wait_steady(3)
            coordinator = job.coordinator.process
            # No file of the coordinator may grow: the same error as a full disk to whoever writes.
            resource.prlimit(coordinator.pid, resource.RLIMIT_FSIZE, (0, resource.RLIM_INFINITY))
            full_ns = boot_ns()
            self.pause(job, 1)
            self.assertGreater(len(job.log.applied(full_ns)), 20)
            send(job.pid_of(3), signal.SIGKILL)
            killed_ns, number = boot_ns(), job.log.number()
            alarm = job.until(lambda: re.search(r"(?i).*alarm.*", self.explain(job)), "the alarm", 15).group(0)
            self.assertEqual(job.log.applied(killed_ns, number), [])
            resource.prlimit(coordinator.pid, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
            self.assertTrue({1, 2} <= job.wait_steady(3))
            self.stop(job)
            self.measured(alarm=alarm.strip())

    def test_an_older_copy_of_the_store_is_not_served(self):
        with self.several_nodes([2, 1], flags=["--max-restarts", "20"]) as job:
            job.wait_steady(3)
            files = {suffix: job.coordinator.store.with_name(job.coordinator.store.name + suffix) for suffix in ("", "-wal", "-shm")}
            copy = {suffix: path.read_bytes() for suffix, path in files.items() if path.exists()}
            for _ in range(3):
                before = job.log.number()
                send(job.workers()[-1], signal.SIGKILL)
                job.until(lambda b=before: job.log.number() > b + 1, "a new number, and the replacement's", 30)
                job.wait_steady(3)
            job.coordinator.kill()
            for suffix, path in files.items():
                path.unlink(missing_ok=True)
                if suffix in copy:
                    path.write_bytes(copy[suffix])
            workers, killed = sorted(job.workers() + job.workers(1)), self.killed_workers(job)
            process = job.coordinator.start()
            self.assert_said(job, r"ALARM: job test: the record in this coordinator's store is older than the job", process)
            back_ns = boot_ns()
            job.wait_applied_after(back_ns, "a step without a coordinator")
            self.pause(job, 2)
            self.assertEqual(sorted(job.workers() + job.workers(1)), workers)
            # As it says: with a new store all members agree, and it goes on.
            job.coordinator.kill()
            job.coordinator.store = job.folder / "new.db"
            self.assert_said(job, r"adopted lineage \d+ at number \d+: all its members agree", job.coordinator.start())
            job.wait_steady(3)
            self.assertEqual(self.killed_workers(job), killed)
            send(job.workers()[-1], signal.SIGKILL)
            job.until(lambda: self.killed_workers(job) == killed + 1, "the kill")
            job.wait_steady(3)
            self.stop(job)

    def explain(self, job):
        done = subprocess.run([self.program("spillway"), "explain", "--endpoint", job.coordinator.endpoint], capture_output=True,
                              text=True, timeout=20, check=False)
        self.assertEqual(done.returncode, 0, done.stderr)
        return done.stdout

    def test_a_damaged_store_is_refused_with_what_to_do(self):
        with self.several_nodes([1]) as job:
            job.wait_steady(1)
            self.stop(job)
            job.coordinator.kill()
            for name in ("-wal", "-shm"):
                job.coordinator.store.with_name(job.coordinator.store.name + name).unlink(missing_ok=True)
            size = job.coordinator.store.stat().st_size
            with open(job.coordinator.store, "r+b") as file:
                file.write(b"\xa5" * max(size, 4096))
            process = job.coordinator.start()
            until(job.coordinator.dead, "the end of a coordinator with a damaged store", 10)
            self.assertEqual(process.returncode, 76)
            self.assertRegex(job.output(process), r"coordinator\.db")


if __name__ == "__main__":
    main()
