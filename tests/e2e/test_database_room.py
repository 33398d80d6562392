# SPDX-License-Identifier: MIT
"""PostgreSQL with no room for more connections, and with a backend that
hangs: what the others of the pool do meanwhile."""

import os
import re
import signal
import subprocess
import threading
import time

import pytest

import harness
import invariants
from clusters import cluster, lab
from test_database import healthy
from test_leases import in_threads

ROOM = 14

OURS = """FROM pg_stat_activity WHERE application_name = 'executr'
    AND datname = current_database()"""


class Session:
    """A connection of somebody else."""

    def __init__(self, url):
        self.process = subprocess.Popen(
            ["psql", "-XqAt", "-d", url], stdin=subprocess.PIPE,
            stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
            env=harness.environment("/"))

    def ask(self, sql):
        """A value as text; nothing if there is no connection."""
        try:
            self.process.stdin.write(sql + ";\n")
            self.process.stdin.flush()
        except BrokenPipeError:
            return ""
        return self.process.stdout.readline().strip()

    def close(self):
        self.process.communicate()


class Crowd:
    """Others that take whatever room a database has."""

    def __init__(self, url):
        self.url, self.sessions = url, []

    def fill(self):
        while True:
            session = Session(self.url)
            if session.ask("SELECT 1") != "1":
                session.close()
                return
            self.sessions.append(session)

    def leave(self):
        while self.sessions:
            self.sessions.pop().close()


@pytest.fixture
def crowd(lab, cluster):
    cluster.stop()
    cluster.start(max_connections=ROOM)
    made = Crowd(lab.store.url)
    yield made
    made.leave()


def submission(server):
    return server.api.post("/jobs", {
        "type": "t", "binary_sha256": "ab" * 32, "binary_url": "http://h/x"})


def refused(server):
    answer = submission(server)
    if answer.status == 201:
        return False
    assert answer.status == 503 and answer.headers["Retry-After"]
    assert answer.json["code"] == "unavailable", answer
    return True


def test_a_server_starts_when_there_is_room(lab, crowd):
    crowd.fill()
    server = lab.server(wait=False)
    said = server.wait_for("no database yet, trying again")
    assert "too many" in said["error"]
    assert not healthy(server) and refused(server)
    crowd.leave()
    server.wait_for("database connected")
    assert submission(server).status == 201 and healthy(server)


@pytest.mark.long
def test_a_server_shares_what_it_has_and_recovers(lab, crowd):
    server = lab.server()
    assert submission(server).status == 201
    crowd.fill()

    # Each list takes a connection of its own.
    def call(_):
        return [status for _ in range(20) for status in (
            submission(server).status,
            server.api.get("/jobs?limit=100").status)]
    threads, results = in_threads(call, range(12))
    for thread in threads:
        thread.join(60)
    assert list(results.values()) == [[201, 200] * 20] * 12
    assert healthy(server)

    # It must not be quicker than the crowd to take what becomes free.
    server.signal(signal.SIGSTOP)
    crowd.sessions[0].ask(
        f"SELECT count(pg_terminate_backend(pid, 5000)) {OURS}")
    crowd.fill()
    server.signal(signal.SIGCONT)
    start = time.monotonic()
    assert refused(server) and not healthy(server)
    assert time.monotonic() - start < 5, "there was nothing to wait for"
    crowd.leave()
    harness.until(lambda: healthy(server), "healthy again")
    assert submission(server).status == 201
    assert int(lab.store.query("SELECT count(*) FROM jobs")[0][0]) == 242
    invariants.check(lab.store)


def busy(server):
    text = server.api.get("/metrics").body.decode()
    return int(re.search(
        r"^executr_database_connections_active (\d+)$", text, re.M).group(1))


def test_the_count_of_busy_connections(lab):
    server = lab.server()
    submission(server)
    harness.until(lambda: busy(server) == 0, "none is busy")
    other = Session(lab.store.url)
    other.ask("BEGIN; LOCK TABLE jobs; SELECT 1")
    threads, results = in_threads(
        lambda _: submission(server).status, range(3))

    def agreed():
        seen = int(lab.store.query(
            f"SELECT count(*) {OURS} AND state <> 'idle'")[0][0])
        return seen > 0 and busy(server) == seen
    harness.until(agreed, "as many busy as PostgreSQL says")
    lab.store.query(f"SELECT pg_terminate_backend(pid, 5000) {OURS}")
    harness.until(agreed, "as many busy when they were cut off")
    other.ask("COMMIT; SELECT 1")
    for thread in threads:
        thread.join(30)
    assert list(results.values()) == [201] * 3
    harness.until(lambda: busy(server) == 0, "none is busy any more")
    other.close()


class Callers:
    """Calls of each kind, one after the other, and how long they took."""

    def __init__(self, server):
        api = server.api
        calls = {
            "submit": lambda: submission(server),
            "claim": lambda: api.post("/jobs/claim", {
                "executor_id": "e", "executor_ip": "i", "max_jobs": 1}),
            "list": lambda: api.get("/jobs?limit=1"),
            "stats": lambda: api.get("/admin/stats"),
            "health": lambda: api.get("/health")}
        self.took = {name: [] for name in calls}
        self.bad = []
        self.over = threading.Event()
        self.threads = [threading.Thread(target=self.go, args=item)
                        for item in calls.items()]

    def go(self, name, call):
        while not self.over.is_set():
            start = time.monotonic()
            try:
                answer = call()
                if answer.status >= 400:
                    self.bad.append((name, answer))
            except OSError as error:
                self.bad.append((name, error))
            self.took[name].append(time.monotonic() - start)
            time.sleep(0.02)

    def run(self, seconds):
        for thread in self.threads:
            thread.start()
        time.sleep(seconds)
        self.over.set()
        for thread in self.threads:
            thread.join(60)


@pytest.mark.long
def test_one_stopped_backend_holds_up_one_call(lab):
    lab.store.url += "?pool_min_conns=4"
    server = lab.server()
    lab.store.url = lab.store.url.partition("?")[0]
    submission(server)
    # The one used last is the next one.
    pid = int(lab.store.query(
        f"SELECT pid {OURS} AND query NOT LIKE '%executr_watch%'"
        " ORDER BY query_start DESC LIMIT 1")[0][0])
    callers = Callers(server)
    os.kill(pid, signal.SIGSTOP)
    try:
        callers.run(14)  # longer than the deadline of a statement
    finally:
        os.kill(pid, signal.SIGCONT)
    slow = sorted(took for each in callers.took.values() for took in each
                  if took > 2)
    assert len(slow) <= 1 and len(callers.bad) <= 1, (slow, callers.bad)
    assert not slow or slow[0] < 13
    for _, answer in callers.bad:
        assert answer.status == 503 and answer.headers["Retry-After"]
    # All but the one that was held up went on all the time.
    steady = [name for name, each in callers.took.items() if len(each) > 50]
    assert len(steady) >= len(callers.took) - 1, callers.took
    invariants.check(lab.store)
