# SPDX-License-Identifier: MIT
"""PostgreSQL that goes away, comes back, and loses its connections."""

import os
import signal
import time

import pytest

import harness
import invariants
from clusters import cluster, lab
from load import Load
from test_leases import processes_in, submit_script

FAST = ("--heartbeat-interval", "300ms", "--poll-interval", "200ms")


def healthy(server):
    return server.api.get("/health").status == 200


@pytest.mark.long
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGQUIT],
                         ids=["stopped", "crashed"])
def test_an_outage_under_load(lab, cluster, number):
    server = lab.server("--heartbeat-timeout", "2s")
    gate = lab.place / "gate"
    long = submit_script(
        lab, server, f"until [ -e {gate} ]; do sleep 0.05; done; echo end")
    worker = lab.executor(server, "--max-jobs", "5", *FAST)
    server.api.wait_status(long, "running")
    load = Load(lab, server.url).start()
    for outage in (0.3, 4):
        time.sleep(0.7)
        cluster.stop(number)
        answer = server.api.get("/health")
        assert answer.status == 503 and answer.json == {
            "status": "unhealthy", "database": "disconnected"}
        assert int(answer.headers["Retry-After"]) >= 0
        answer = server.api.post("/jobs", {
            "type": "t", "binary_sha256": "ab" * 32, "binary_url": "http://h"})
        assert answer.status == 503 and answer.headers["Retry-After"]
        assert answer.json["code"] in ("unavailable", "timeout")
        time.sleep(outage)
        cluster.start()
        harness.until(lambda: healthy(server), "it is healthy again")
    time.sleep(3)
    record = server.api.job(long)
    assert record["status"] == "running" and record["attempt"] == 1
    gate.touch()
    load.stop()
    load.settled()
    done = server.api.job(long)
    assert done["status"] == "completed" and done["attempt"] == 1
    assert worker.running and server.running
    load.accepted["end"] = long
    load.trace.open("a").write("end\n")
    store = Renamed(lab.store, long)
    load.check(store)
    invariants.check(lab.store)


class Renamed:
    """A store that shows the argument "end" for a job without arguments."""

    def __init__(self, store, job_id):
        self.store, self.job_id = store, job_id

    def query(self, sql):
        rows = self.store.query(sql)
        return [row[:3] + ["end"] if row[0] == self.job_id else row
                for row in rows]


def test_a_server_waits_for_its_database(lab, cluster):
    cluster.stop()
    server = lab.server(wait=False)
    assert server.api.get("/health").status == 503
    for call in (lambda: server.api.get("/jobs"),
                 lambda: server.api.get("/admin/stats"),
                 lambda: server.api.post("/jobs/claim", {
                     "executor_id": "e", "executor_ip": "i"})):
        answer = call()
        assert answer.status == 503 and answer.headers["Retry-After"]
        assert answer.json["code"] == "unavailable"
    assert server.api.get("/metrics").status == 200
    cluster.start()
    server.wait_for("database connected")
    worker = lab.executor(server, *FAST)
    job = submit_script(lab, server, "echo hello")
    assert server.api.wait(job)["executor_id"] == worker.id
    cluster.stop()
    assert server.stop() == 0


def test_it_ends_while_it_waits_for_its_database(lab, cluster):
    cluster.stop()
    server = lab.server(wait=False)
    assert server.stop() == 0


def test_a_bad_database_is_said_at_once(lab):
    program = lab.program(
        "executr-server", "--db-url", "mysql://h/db", "--port", "0")
    assert program.process.wait(30) in (1, 2)
    assert "postgres://" in program.text and "sqlite:" in program.text
    assert "listening" not in program.text


@pytest.mark.parametrize("url", [
    "postgres://h/db?pool_max_conns=many", "postgres://h/db?no_such=1",
    "sqlite://host/path", "sqlite::memory:"])
def test_a_bad_part_of_its_url_is_said_at_once(lab, url):
    program = lab.program("executr-server", "--db-url", url, "--port", "0")
    assert program.process.wait(30) in (1, 2)
    assert "listening" not in program.text


def test_the_password_is_never_shown(lab, cluster):
    cluster.stop()
    secret = "p4ss-" + os.urandom(5).hex()
    url = f"postgres://postgres:{secret}@127.0.0.1:{cluster.port}/db"
    program = lab.program(
        "executr-server", "--port", "0", "--log-level", "debug",
        env=harness.environment(lab.place, EXECUTR_DB_URL=url))
    program.wait_for("no database yet, trying again")
    assert program.stop() == 0
    assert secret not in program.text


@pytest.mark.long
def test_connections_cut_under_load_cost_nothing(lab):
    server = lab.server("--heartbeat-timeout", "3s")
    worker = lab.executor(server, "--max-jobs", "4", *FAST)
    load = Load(lab, server.url).start()
    for _ in range(15):
        time.sleep(0.2)
        lab.store.query("""
            SELECT pg_terminate_backend(pid) FROM pg_stat_activity
            WHERE datname = current_database() AND pid <> pg_backend_pid()""")
    load.stop()
    load.settled()
    runs = load.check(lab.store)
    assert max(runs.values()) == 1
    invariants.check(lab.store)
    harness.until(lambda: not processes_in(worker.work), "all ended")


@pytest.mark.long
def test_a_stopped_backend_holds_nobody_up_for_ever(lab):
    server = lab.server()
    api = server.api
    assert api.submit()["status"] == "pending"
    stopped = [int(row[0]) for row in lab.store.query("""
        SELECT pid FROM pg_stat_activity
        WHERE datname = current_database() AND pid <> pg_backend_pid()""")]
    for pid in stopped:
        os.kill(pid, signal.SIGSTOP)
    try:
        def served():
            answer = api.post("/jobs", {
                "type": "t", "binary_sha256": "ab" * 32,
                "binary_url": "http://h/x"}, timeout=60)
            assert answer.status in (201, 503), answer
            return answer.status == 201
        harness.until(served, "a submission was taken", 90)
        harness.until(lambda: healthy(server), "healthy", 90)
    finally:
        for pid in stopped:
            os.kill(pid, signal.SIGCONT)
    invariants.check(lab.store)
