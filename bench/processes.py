# SPDX-License-Identifier: MIT
"""Programs under measurement: where they are, their start, CPU and end."""

import contextlib
import hashlib
import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.request

ROOT = pathlib.Path(__file__).resolve().parent.parent
BIN = ROOT / "build" / "release" / "bin"
TINY = BIN / "bench_tiny"
STAMP = BIN / "bench_stamp"
TICKS = os.sysconf("SC_CLK_TCK")

# Both are wanted: the one shows the program, the other what a disk adds.
TMPFS = pathlib.Path("/dev/shm")
DISK = pathlib.Path("/var/tmp")


class Skipped(Exception):
    """A question that can't be asked here; says why."""


@contextlib.contextmanager
def directory(parent):
    path = pathlib.Path(tempfile.mkdtemp(prefix="executr-bench.", dir=parent))
    path.chmod(0o700)
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)


def filesystem(path):
    return subprocess.run(
        ["stat", "-f", "-c", "%T", path], capture_output=True, text=True,
        check=True).stdout.strip()


def generate(name, **options):
    """Run a load generator to its end; gives its samples as they come. One
    that reads goes on when the next is asked for."""
    command = [BIN / f"bench_{name}"]
    for option, value in options.items():
        command += ["--" + option.replace("_", "-"), str(value)]
    with subprocess.Popen(command, stdin=subprocess.PIPE,
                          stdout=subprocess.PIPE, text=True) as process:
        for line in process.stdout:
            yield json.loads(line)
            with contextlib.suppress(BrokenPipeError):
                os.write(process.stdin.fileno(), b"\n")
    if process.returncode != 0:
        sys.exit(f"bench: bench_{name} failed")


class Postgres:
    """A running one: its URL, its log position and its CPU."""

    def __init__(self, url, bin_directory):
        self.url = url
        self.bin_directory = bin_directory
        self.psql = [f"{bin_directory}/psql", "-XAtq", url, "-c"]
        pid_file = self.ask("SHOW data_directory") + "/postmaster.pid"
        self.pid = int(pathlib.Path(pid_file).read_text().split()[0])

    def ask(self, sql):
        return subprocess.run([*self.psql, sql], capture_output=True,
                              text=True, check=True).stdout.strip()

    def another(self, name):
        """A database of its own beside this one, empty."""
        self.ask(f"CREATE DATABASE {name}")
        return Postgres(f"{self.url.rpartition('/')[0]}/{name}",
                        self.bin_directory)

    def empty(self):
        self.ask("DROP SCHEMA public CASCADE; CREATE SCHEMA public")

    def wal_bytes(self):
        return int(self.ask("SELECT (pg_current_wal_insert_lsn() - '0/0')"))

    def cpu_seconds(self):
        """Of all backends: those under way, and those that ended."""
        return cpu_seconds(self.pid, ended_children=True) + sum(
            cpu_seconds(pid) for pid in children(self.pid))


@contextlib.contextmanager
def old_snapshot(database):
    """Somebody who began to read and does not end."""
    with subprocess.Popen(database.psql[:-1], stdin=subprocess.PIPE,
                          stdout=subprocess.PIPE, text=True) as process:
        print("BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT 'begun';",
              file=process.stdin, flush=True)
        process.stdout.readline()
        try:
            yield
        finally:
            process.stdin.close()
            process.wait()


@contextlib.contextmanager
def postgres():
    """A PostgreSQL of its own with Debian's settings."""
    command = [ROOT / "scripts" / "with-postgres", "sh", "-c",
               'echo "$EXECUTR_TEST_PG_URL $EXECUTR_TEST_PG_BIN"; exec cat']
    with subprocess.Popen(command, stdin=subprocess.PIPE,
                          stdout=subprocess.PIPE, text=True) as process:
        words = process.stdout.readline().split()
        if not words:
            raise Skipped("PostgreSQL did not start")
        try:
            yield Postgres(*words)
        finally:
            process.stdin.close()
            process.wait()


def cpu_seconds(pid, ended_children=False):
    try:
        stat = pathlib.Path(f"/proc/{pid}/stat").read_text()
    except FileNotFoundError:
        return 0.0
    ticks = stat.rpartition(")")[2].split()[11:15]
    return sum(int(t) for t in ticks[:4 if ended_children else 2]) / TICKS


def children(pid):
    return [int(child) for child in pathlib.Path(
        f"/proc/{pid}/task/{pid}/children").read_text().split()]


class Program:
    """One of ours, started with flags; its log is kept until its end."""

    def __init__(self, name, directory, **flags):
        command = [BIN / name]
        for flag, value in flags.items():
            command += ["--" + flag.replace("_", "-"), str(value)]
        self.log = directory / f"{name}.{id(self)}.log"
        with open(self.log, "w") as log:
            self.process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        self.pid = self.process.pid

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.terminate()
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    def cpu_seconds(self):
        return cpu_seconds(self.pid)

    def status(self, field):
        """A number of /proc/PID/status: kilobytes, or Threads."""
        text = pathlib.Path(f"/proc/{self.pid}/status").read_text()
        return int(text.split(f"\n{field}:")[1].split()[0])

    def wait_for(self, message):
        """The fields of the first line of the log with this message."""
        for _ in range(1000):
            for line in self.log.read_text().splitlines():
                if f'"msg":"{message}"' in line:
                    return json.loads(line)
            if self.process.poll() is not None:
                break
            time.sleep(0.01)
        sys.exit(f"bench: no '{message}' from {self.process.args[0].name}:\n"
                 + self.log.read_text())


class Server(Program):
    def __init__(self, directory, db_url, **flags):
        super().__init__("executr-server", directory, port=0, db_url=db_url,
                         log_format="json",
                         **{"max_connections": 1024} | flags)
        self.port = int(self.wait_for("listening")["port"])
        self.url = f"http://127.0.0.1:{self.port}"
        self.wait_for("database connected")

    def call(self, method, path, body=None):
        """The answer to a call below /api/v1; bytes go as they are."""
        data = body
        if body is not None and not isinstance(body, bytes):
            data = json.dumps(body).encode()
        request = urllib.request.Request(
            f"{self.url}/api/v1{path}", data, method=method,
            headers={"Content-Type": "application/json"})
        with urllib.request.urlopen(request, timeout=60) as answer:
            text = answer.read()
        return json.loads(text) if text else None

    def upload(self, path):
        data = pathlib.Path(path).read_bytes()
        sha256 = hashlib.sha256(data).hexdigest()
        self.call("PUT", f"/binaries/{sha256}", data)
        return sha256


class Executor(Program):
    """With its work directory on tmpfs."""

    def __init__(self, directory, server, max_jobs):
        super().__init__(
            "executr-executor", directory, server_url=server.url,
            max_jobs=max_jobs, log_format="json", log_level="warn",
            cache_dir=directory / "cache", work_dir=directory / "work",
            spool_dir=directory / "spool")


def generate_one(name, **options):
    (sample,) = generate(name, **options)
    return sample


@contextlib.contextmanager
def stores(*kinds):
    """Gives a function: the URL of an empty store of a kind, for a while."""
    with contextlib.ExitStack() as stack:
        database = stack.enter_context(postgres()) \
            if "postgres" in kinds else None

        @contextlib.contextmanager
        def store(kind):
            with directory(DISK) as place:
                if kind == "postgres":
                    database.empty()
                    yield database.url, database
                else:
                    yield f"sqlite://{place}/jobs.db", None
        yield store
