#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What is given wrongly to the commands of `spillway`: refused within a bound, with a documented code and what would be right."""
import re
import resource
import socket
import sqlite3

from case import Coordinator, JobCase, main
from processes import until

USAGE, UNREACHABLE, SYSTEM, REFUSED, NOT_EXECUTABLE, NOT_FOUND = 2, 69, 71, 76, 126, 127


class BadInputTest(JobCase):
    def refused(self, code, pattern, *arguments, timeout_s=15):
        with self.job([]) as job:
            process = job.start(list(arguments))
            job.agents.append(process)
            job.wait_end(timeout_s, [code])
            self.assertRegex(job.output(process), pattern)

    def test_unknown_commands_and_flags_name_the_nearest(self):
        self.refused(USAGE, r"did you mean 'status'", "statsu")
        self.refused(USAGE, r"--listne; did you mean --listen", "coordinator", "--listne", "x")
        self.refused(USAGE, r"--jsno; did you mean --json", "status", "--jsno")
        self.refused(USAGE, r"-j; did you mean --json", "status", "-j")
        self.refused(USAGE, r"--reson; did you mean --reason", "abandon", "1", "--reson", "x")
        self.refused(USAGE, r"unknown flag --reason", "adopt", "7", "--reason", "x")
        self.refused(USAGE, r"did you mean --max-restarts", "run", "--max-restart_s", "2", "/bin/true")

    def test_values_that_are_missing_or_wrong(self):
        self.refused(USAGE, r"--listen needs a value", "coordinator", "--listen")
        self.refused(USAGE, r"--node-timeout 0: must be a number of seconds", "coordinator", "--node-timeout", "0")
        self.refused(USAGE, r"is not HOST:PORT", "coordinator", "--listen", "nonsense")
        self.refused(USAGE, r"'extra' is no flag", "coordinator", "extra")
        self.refused(USAGE, r"usage: spillway abandon", "abandon")
        self.refused(USAGE, r"'three' is no worker", "abandon", "three")
        self.refused(USAGE, r"'zz' is no lineage", "adopt", "zz")
        self.refused(USAGE, r"--json is given twice", "status", "--json", "--json")
        self.refused(USAGE, r"--json takes no value", "status", "--json=yes")

    def test_contradictions(self):
        self.refused(USAGE, r"4:2.*did you mean 2:4", "run", "--nnodes", "4:2", "/bin/true")
        self.refused(USAGE, r"--standalone is one node", "run", "--standalone", "--nnodes", "1:2", "/bin/true")
        self.refused(USAGE, r"no program given", "run", "--standalone")
        self.refused(USAGE, r"--min-workers 3 can never be reached", "run", "--standalone", "--min-workers", "3", "--nproc-per-node", "2",
                     "/bin/true")

    def test_programs_that_cannot_run(self):
        self.refused(NOT_FOUND, r"/no/such/program", "run", "--standalone", "/no/such/program")
        self.refused(NOT_EXECUTABLE, r"/etc/hostname", "run", "--standalone", "/etc/hostname")
        self.refused(NOT_FOUND, r"/no/such/script.py", "run", "--standalone", "/no/such/script.py")

    def test_help_documents_the_exit_codes(self):
        for command in (["run"], ["coordinator"], ["status"], ["explain"], ["adopt"], ["abandon"]):
            self.refused(0, r"(?is)ends with .*\b76\b", *command, "--help")

    def test_a_coordinator_that_cannot_be_reached(self):
        # A port of this host that is bound but not listening refuses; an endpoint elsewhere than here would start nothing.
        with socket.socket() as mute:
            mute.bind(("127.0.0.1", 0))
            mute.listen()
            address = f"127.0.0.1:{mute.getsockname()[1]}"
            self.refused(UNREACHABLE, rf"{re.escape(address)}: tried \d+ times in \d+ s", "run", "--nnodes", "1:2", "--rdzv-endpoint",
                         address, "--join-timeout", "1", "/bin/true")
        self.refused(UNREACHABLE, r"(?s)coordinator at no-such-host.invalid:1.*tried \d+ times", "run", "--nnodes", "1:2",
                     "--rdzv-endpoint", "no-such-host.invalid:1", "--join-timeout", "1", "/bin/true", timeout_s=30)
        self.refused(UNREACHABLE, r"127.0.0.1:1\b.*refused", "status", "--endpoint", "127.0.0.1:1")

    def test_an_endpoint_of_any_free_port(self):
        with self.job(["/bin/sh", "-c", "echo it ran"]) as job:
            job.start_agent(["--rdzv-backend", "c10d", "--rdzv-endpoint", "localhost:0"])
            job.wait_end(20)
            self.assertRegex(job.output(), r"(?s)other nodes join it by --rdzv-endpoint \S+:[1-9]\d*\n.*it ran")
        self.refused(USAGE, r"192.0.2.1:0: port 0 means any free one of this host", "run", "--rdzv-endpoint", "192.0.2.1:0", "/bin/true")

    def test_a_path_that_is_no_socket(self):
        with self.job([]) as job:
            path = job.folder / "file"
            path.write_text("precious")
            job.agents.append(job.start(["coordinator", "--listen", f"unix:{path}"]))
            job.wait_end(15, [UNREACHABLE])
            self.assertRegex(job.output(), r"something that is no socket, and it is left alone")
            self.assertEqual(path.read_text(), "precious")

    def test_a_port_in_use_and_addresses_of_others(self):
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))
            taken.listen()
            address = f"127.0.0.1:{taken.getsockname()[1]}"
            self.refused(UNREACHABLE, rf"{re.escape(address)}: Address already in use", "coordinator", "--listen", address)
        self.refused(UNREACHABLE, r"192.0.2.1:1", "coordinator", "--insecure", "--listen", "192.0.2.1:1")
        self.refused(REFUSED, r"--insecure", "coordinator", "--listen", "0.0.0.0:0")

    def test_many_who_connect_and_say_nothing(self):
        with self.job([]) as job:
            soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
            resource.setrlimit(resource.RLIMIT_NOFILE, (64, hard))  # as a service manager may give it
            try:
                job.coordinator = Coordinator(job)
            finally:
                resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
            mute = [socket.create_connection(("127.0.0.1", job.coordinator.port)) for _ in range(200)]
            process = job.start(["status", "--endpoint", job.coordinator.endpoint, "--timeout", "5"])
            until(lambda: process.poll() is not None, "an answer", 10)
            self.assertEqual(process.returncode, 0, job.output(process))
            for connection in mute:
                connection.close()

    def test_a_store_that_is_damaged_or_no_store(self):
        with self.job([]) as job:
            job.coordinator = Coordinator(job)
            self.assert_said(job, "listens on", job.coordinator.process)
            job.coordinator.kill()
            for path in job.folder.glob("coordinator.db-*"):
                path.unlink()
            job.coordinator.store.write_bytes(b"this is no database " * 500)
            job.coordinator.start()
            until(job.coordinator.dead, "the end of a coordinator without a store", 15)
            self.assertEqual(job.coordinator.process.returncode, REFUSED)
            self.assertRegex(job.output(job.coordinator.process), r"coordinator\.db")

    def test_a_damaged_record_refuses_its_job_alone(self):
        with self.job(["/bin/true"]) as job:
            job.coordinator = Coordinator(job)
            flags = ["--nnodes", "1:2", "--rdzv-endpoint", job.coordinator.endpoint, "--rdzv-id"]
            job.start_agent([*flags, "one"])
            until(lambda: job.agents[0].poll() is not None, "the end of a first run", 30)
            job.coordinator.kill()
            self.damage(job.coordinator.store)
            job.coordinator.start()
            job.start_agent([*flags, "one"])
            job.start_agent([*flags, "two"])
            job.wait_end(40, [0, REFUSED, 0])
            self.assertRegex(job.output(job.agents[1]), r"one\b.*(damaged|checksum|record)")

    def damage(self, path):
        """Turns one byte in the middle of each stored record over, behind the checksum's back."""
        with sqlite3.connect(path) as database:
            tables = [row[0] for row in database.execute("select name from sqlite_master where type = 'table'")]
            changed = 0
            for table in tables:
                for name in [row[1] for row in database.execute(f"pragma table_info({table})")]:
                    for row, value in database.execute(f"select rowid, {name} from {table} where typeof({name}) = 'blob'").fetchall():
                        if len(value) < 20:
                            continue
                        middle = len(value) // 2
                        broken = value[:middle] + bytes([value[middle] ^ 0x40]) + value[middle + 1:]
                        database.execute(f"update {table} set {name} = ? where rowid = ?", (broken, row))
                        changed += 1
        self.assertGreater(changed, 0)


if __name__ == "__main__":
    main()
