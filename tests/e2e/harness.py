# SPDX-License-Identifier: MIT
"""Starts, talks to and stops the real programs, each by its process id."""

import contextlib
import hashlib
import http.client
import itertools
import json
import os
import pathlib
import shutil
import signal
import socket
import sqlite3
import subprocess
import tempfile
import time
import urllib.parse

ROOT = pathlib.Path(__file__).resolve().parents[2]
BIN = pathlib.Path(os.environ.get("EXECUTR_BIN", ROOT / "build/debug/bin"))
# Static programs to be run as jobs: job, attacker, witness.
JOBS = pathlib.Path(
    os.environ.get("EXECUTR_TEST_PROGRAMS", BIN.parent / "tests"))
PG_URL = os.environ.get("EXECUTR_TEST_PG_URL")
PATIENCE = 30  # seconds for what should happen at once; never a measurement

_numbers = itertools.count(1)


def until(condition, what, patience=PATIENCE, pause=0.02):
    """Wait until `condition()` is true, and give what it gave."""
    end = time.monotonic() + patience
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > end:
            raise AssertionError(f"in {patience} s: never {what}")
        time.sleep(pause)


def environment(home, **more):
    """An environment without anything that configures executr."""
    return {"PATH": "/usr/local/bin:/usr/bin:/bin", "HOME": str(home),
            "LANG": "C.UTF-8", **{k: str(v) for k, v in more.items()}}


_reserved = []  # sockets that say a port is ours, as long as we live


def reserve(port):
    """Whether no other test has this port: of all processes on the machine, one
    can have the abstract name."""
    name = socket.socket(socket.AF_UNIX)
    try:
        name.bind(f"\0executr-e2e-port-{port}")
    except OSError:
        name.close()
        return False
    _reserved.append(name)
    return True


def free_port():
    """A port below those given to outgoing connections, which no test was
    given before and nobody uses just now."""
    first = 10000 + os.getpid() % 10000
    for port in itertools.chain(range(first, 32000), range(10000, first)):
        with socket.socket() as s, contextlib.suppress(OSError):
            s.bind(("127.0.0.1", port))
            if reserve(port):
                return port
    raise RuntimeError("no free port")


class Program:
    """One of our programs; dies with the tests, whatever ends them."""

    def __init__(self, place, name, *arguments, env=None, group=False,
                 user=None):
        self.name = name
        self.log_path = place / f"{name}-{next(_numbers)}.log"
        # setpriv becomes the program: its id is the program's own.
        who = [f"--reuid={user}", "--regid=nogroup",
               "--clear-groups"] if user else []
        command = ["setpriv", *who, "--pdeathsig=KILL", str(BIN / name),
                   *map(str, arguments)]
        with open(self.log_path, "wb") as log:
            self.process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                env=env or environment(place), cwd=place,
                start_new_session=group)

    @property
    def pid(self):
        return self.process.pid

    @property
    def text(self):
        return self.log_path.read_text(errors="replace")

    @property
    def running(self):
        return self.process.poll() is None

    def records(self):
        """Its log so far, a dict a line."""
        found = []
        for line in self.text.splitlines():
            with contextlib.suppress(ValueError):
                record = json.loads(line)
                if isinstance(record, dict):
                    found.append(record)
        return found

    def wait_for(self, message):
        """The first log record with this message."""
        def look():
            for record in self.records():
                if record.get("msg") == message:
                    return record
            if not self.running:
                raise AssertionError(
                    f"{self.name} ended with {self.process.returncode}:\n"
                    f"{self.text}")
            return None
        return until(look, f"{self.name} said '{message}'")

    def signal(self, number):
        if self.running:
            self.process.send_signal(number)

    def kill(self):
        """kill -9, and wait for the end."""
        self.signal(signal.SIGKILL)
        self.process.wait(PATIENCE)

    def stop(self, patience=PATIENCE):
        """SIGTERM, and the exit code; a program that stays is killed."""
        self.signal(signal.SIGTERM)
        try:
            return self.process.wait(patience)
        except subprocess.TimeoutExpired:
            self.kill()
            raise AssertionError(
                f"{self.name} did not end within {patience} s of SIGTERM:\n"
                f"{self.text[-4000:]}") from None

    def threads(self):
        return len(os.listdir(f"/proc/{self.pid}/task"))

    def descriptors(self):
        return len(os.listdir(f"/proc/{self.pid}/fd"))

    def children(self):
        """All processes below it, by id, but for its own guard."""
        return {pid for pid in descendants(self.pid) if name_of(
            pid) != "executr-guard"}


def parents():
    """process id -> parent id, of every process there is."""
    found = {}
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            with contextlib.suppress(OSError, IndexError):
                stat = pathlib.Path(f"/proc/{entry}/stat").read_text()
                fields = stat.rsplit(")", 1)[1].split()
                if fields[0] != "Z":
                    found[int(entry)] = int(fields[1])
    return found


def name_of(pid):
    try:
        return pathlib.Path(f"/proc/{pid}/comm").read_text().strip()
    except OSError:
        return ""


def descendants(pid):
    table, found, new = parents(), set(), {pid}
    while new:
        new = {child for child, parent in table.items() if parent in new}
        found |= new
    return found


class Response:
    def __init__(self, status, headers, body):
        self.status, self.headers, self.body = status, headers, body

    @property
    def json(self):
        return json.loads(self.body)

    def __repr__(self):
        return f"<{self.status} {self.body[:500]!r}>"


class Api:
    """The REST API of a server, a connection a call."""

    def __init__(self, url):
        self.url = url
        parts = urllib.parse.urlsplit(url)
        self.host, self.port = parts.hostname, parts.port

    def request(self, method, path, body=None, headers=None, timeout=PATIENCE):
        headers = dict(headers or {})
        if body is not None and not isinstance(body, bytes):
            body = json.dumps(body).encode()
        if body is not None:
            headers.setdefault("Content-Type", "application/json")
        if not path.startswith("/api/") and path != "/metrics":
            path = "/api/v1" + path
        connection = http.client.HTTPConnection(
            self.host, self.port, timeout=timeout)
        try:
            connection.request(method, path, body, headers)
            answer = connection.getresponse()
            return Response(answer.status, answer.headers, answer.read())
        finally:
            connection.close()

    def get(self, path, **more):
        return self.request("GET", path, **more)

    def post(self, path, body, **more):
        return self.request("POST", path, body, **more)

    def put(self, path, body, **more):
        return self.request("PUT", path, body, **more)

    def delete(self, path, **more):
        return self.request("DELETE", path, **more)

    def submit(self, **fields):
        """Submit a job that nothing will fetch, unless fields say so."""
        body = {"type": "t", "binary_sha256": "ab" * 32,
                "binary_url": "http://127.0.0.1:9/none", **fields}
        answer = self.post("/jobs", body)
        assert answer.status == 201, answer
        return answer.json

    def job(self, job_id):
        answer = self.get(f"/jobs/{job_id}")
        assert answer.status == 200, answer
        return answer.json

    def claim(self, executor="e-1", **fields):
        """The jobs claimed, as a list."""
        answer = self.post("/jobs/claim", {
            "executor_id": executor, "executor_ip": "127.0.0.1",
            "max_jobs": 1, **fields}, timeout=90)
        assert answer.status in (200, 204), answer
        return answer.json if answer.status == 200 else []

    def finish(self, job, executor="e-1", **fields):
        """Complete an attempt; the status of the answer."""
        return self.put(f"/jobs/{job['id']}/complete", {
            "executor_id": executor, "attempt": job["attempt"],
            "exit_code": 0, **fields}).status

    def stats(self):
        answer = self.get("/admin/stats")
        assert answer.status == 200, answer
        return answer.json

    def wait(self, job_id, patience=PATIENCE):
        """The record of a job once it is over."""
        def over():
            job = self.job(job_id)
            return job if job["status"] not in ("pending", "running") else None
        return until(over, f"job {job_id} was over", patience)

    def wait_status(self, job_id, status):
        return until(
            lambda: self.job(job_id)["status"] == status,
            f"job {job_id} was {status}")

    def upload(self, path):
        data = pathlib.Path(path).read_bytes()
        sha256 = hashlib.sha256(data).hexdigest()
        answer = self.put(f"/binaries/{sha256}", data)
        assert answer.status in (200, 201), answer
        return sha256


class Server(Program):
    """executr-server on a free port; restart() keeps the port, so it is none
    that an outgoing connection may be given in between."""

    def __init__(self, place, db_url, *flags, port=None, env=None, wait=True):
        port = port or free_port()
        super().__init__(
            place, "executr-server", "--db-url", db_url, "--port", port,
            "--log-format", "json", *flags, env=env)
        self.place, self.db_url, self.flags = place, db_url, flags
        self.env = env
        self.port = int(self.wait_for("listening")["port"])
        self.url = f"http://127.0.0.1:{self.port}"
        self.api = Api(self.url)
        if wait:
            self.wait_for("database connected")

    def restart(self, wait=True):
        """Another one in its place."""
        return Server(self.place, self.db_url, *self.flags, port=self.port,
                      env=self.env, wait=wait)


class Executor(Program):
    def __init__(self, place, url, *flags, env=None, user=None, base=None,
                 cache=None):
        base = base or place / f"executor-{next(_numbers)}"
        self.cache, self.work = cache or base / "cache", base / "work"
        super().__init__(
            place, "executr-executor", "--server-url", url, "--cache-dir",
            self.cache, "--work-dir", self.work, "--log-format", "json",
            *flags, env=env, user=user)
        self.id = self.wait_for("executor started")["executor_id"]

    def lacks(self, level):
        """What it says of a level of isolation that it can't give, or ""."""
        said = [record.get("ability", "") for record in self.records()]
        said = "; ".join(text for text in said if "isolation: " in text)
        return said if f"no {level}" in said else ""


class Cli:
    """The executr command, on a server."""

    def __init__(self, place, url=None):
        self.place = place
        self.env = environment(
            place, **({"EXECUTR_SERVER_URL": url} if url else {}))

    def start(self, *arguments, env=None, **more):
        command = ["setpriv", "--pdeathsig=KILL", str(BIN / "executr"),
                   *map(str, arguments)]
        return subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.PIPE, env={**self.env, **(env or {})},
            cwd=self.place, **more)

    def __call__(self, *arguments, code=0, env=None, timeout=60):
        """Run it, expect its exit code, and give stdout and stderr."""
        process = self.start(*arguments, env=env)
        try:
            out, err = process.communicate(timeout=timeout)
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()
            raise
        assert process.returncode == code, (process.returncode, out, err)
        return out.decode(errors="replace"), err.decode(errors="replace")

    def json(self, *arguments, **more):
        command, *rest = arguments
        return json.loads(
            self(command, "--output", "json", *rest, **more)[0])


class Sqlite:
    """An embedded store of one test."""

    kind = "sqlite"

    def __init__(self, place):
        self.path = place / "jobs.db"
        self.url = f"sqlite://{self.path}"

    def query(self, sql):
        with contextlib.closing(sqlite3.connect(
                f"file:{self.path}?mode=ro", uri=True, timeout=30)) as db:
            return [list(row) for row in db.execute(sql)]

    def drop(self):
        pass


class Postgres:
    """A database of one test, on the server of EXECUTR_TEST_PG_URL."""

    kind = "postgres"

    def __init__(self, server_url=None):
        self.server_url = server_url or PG_URL
        self.name = f"executr_e2e_{os.getpid()}_{next(_numbers)}"
        base = urllib.parse.urlsplit(self.server_url)
        self.url = base._replace(path=f"/{self.name}").geturl()
        psql(self.server_url, f"CREATE DATABASE {self.name}")

    def query(self, sql):
        return psql(self.url, sql)

    def drop(self):
        psql(self.server_url, f"DROP DATABASE {self.name} WITH (FORCE)")


def psql(url, sql):
    """The rows of a query, as lists of texts."""
    done = subprocess.run(
        ["psql", "-X", "-q", "-A", "-t", "-F", "\x1f", "-R", "\x1e",
         "-v", "ON_ERROR_STOP=1", "-d", url, "-c", sql],
        capture_output=True, text=True, timeout=120, check=False,
        env=environment("/"))
    assert done.returncode == 0, done.stderr
    text = done.stdout.rstrip("\n")
    return [row.split("\x1f") for row in text.split("\x1e")] if text else []


def script(place, text):
    """An executable of shell lines, with a name and a hash of its own."""
    path = place / f"job-{next(_numbers)}"
    path.write_text(f"#!/bin/sh\n# {path}\n{text}\n")
    path.chmod(0o755)
    return path


class Cluster:
    """A PostgreSQL of our own, to be stopped and killed at will."""

    def __init__(self, place):
        self.bin = pathlib.Path(os.environ["EXECUTR_TEST_PG_BIN"])
        # A socket's path is short, and the postgres user must get there.
        self.place = pathlib.Path(tempfile.mkdtemp(prefix="executr-pg-e2e."))
        self.data, self.port = self.place / "data", free_port()
        self.log = open(place / "postgres.log", "ab")
        self.owner = []
        if os.getuid() == 0:
            shutil.chown(self.place, "postgres", "postgres")
            self.owner = ["setpriv", "--reuid=postgres", "--regid=postgres",
                          "--init-groups"]
        self.place.chmod(0o755)
        subprocess.run(
            [*self.owner, self.bin / "initdb", "-D", self.data, "-U",
             "postgres", "-A", "trust", "-E", "UTF8", "--locale=C.UTF-8",
             "--no-sync"], check=True, stdout=self.log, stderr=self.log,
            cwd="/", env=environment("/"))
        self.url = f"postgres://postgres@127.0.0.1:{self.port}/postgres"
        self.process = None

    def start(self, **settings):
        more = [part for name, value in settings.items()
                for part in ("-c", f"{name}={value}")]
        self.process = subprocess.Popen(
            [*self.owner, "setpriv", "--pdeathsig=INT",
             self.bin / "postgres", "-D", self.data, "-p", str(self.port),
             "-c", "listen_addresses=127.0.0.1", "-c",
             f"unix_socket_directories={self.place}", "-c", "fsync=on",
             *more],
            stdin=subprocess.DEVNULL, stdout=self.log, stderr=self.log,
            cwd="/", env=environment("/"), start_new_session=True)
        until(self.answers, "PostgreSQL is up", 60, 0.05)
        return self

    def answers(self):
        done = subprocess.run(
            [self.bin / "pg_isready", "-q", "-h", "127.0.0.1", "-p",
             str(self.port)], check=False, env=environment("/"))
        return done.returncode == 0

    def stop(self, number=signal.SIGINT):
        """SIGINT: a fast shutdown; SIGQUIT: a crash."""
        if self.process and self.process.poll() is None:
            self.process.send_signal(number)
            self.process.wait(60)

    def remove(self):
        self.stop(signal.SIGQUIT)
        self.log.close()
        shutil.rmtree(self.place)
