# SPDX-License-Identifier: MIT
"""Servers behind PgBouncer in transaction mode, where nothing of a session
lasts: no LISTEN, no prepared statement, no setting, no lock."""

import time

import pytest

import harness
import invariants
from bouncer import POOL, Bouncer, Pooled
from load import Load
from test_database_room import Session
from test_leases import in_threads, parked, submit_script
from test_live import Follower, Gates

FAST = ("--heartbeat-interval", "300ms", "--poll-interval", "200ms")


@pytest.fixture
def bouncer():
    if not harness.PG_URL:
        pytest.skip("EXECUTR_TEST_PG_URL is not set: run this under "
                    "scripts/with-postgres to test PgBouncer")
    made = Bouncer(harness.PG_URL)
    try:
        yield made.start()
    finally:
        made.remove()


@pytest.fixture
def lab(bouncer, tmp_path):
    from conftest import Lab
    made = Lab(tmp_path, Pooled(bouncer))
    yield made
    made.end()


# What a session keeps beyond a transaction, but for the settings that the
# pooler itself carries from client to client.
KEPT = """
    SELECT concat_ws(' ', pg_backend_pid(),
        (SELECT string_agg('listens:' || c, ' ')
            FROM pg_listening_channels() c),
        (SELECT string_agg('lock:' || objid, ' ') FROM pg_locks
            WHERE locktype = 'advisory' AND pid = pg_backend_pid()),
        (SELECT string_agg('prepared:' || name, ' ')
            FROM pg_prepared_statements),
        (SELECT string_agg('cursor:' || name, ' ') FROM pg_cursors),
        (SELECT string_agg('temporary:' || relname, ' ') FROM pg_class
            WHERE relnamespace = pg_my_temp_schema()),
        (SELECT string_agg('set:' || name, ' ') FROM pg_settings
            WHERE source = 'session' AND name NOT IN ('application_name',
                'client_encoding', 'DateStyle', 'TimeZone',
                'standard_conforming_strings')))"""


def kept(lab):
    """What the sessions of the pooler keep. Each is held in a transaction, so
    that none is asked twice."""
    sessions = [Session(lab.store.url) for _ in range(POOL)]
    answers = [s.ask("BEGIN; " + " ".join(KEPT.split())).split()
               for s in sessions]
    for session in sessions:
        session.close()
    assert len({answer[0] for answer in answers}) == POOL
    return sorted(word for answer in answers for word in answer[1:])


def test_nothing_stays_in_its_sessions(lab, bouncer):
    harness.psql(lab.store.url, "LISTEN witness; SET work_mem = '7MB'")
    near, far = lab.server(), lab.server()
    lab.executor(near, "--max-jobs", "2", *FAST)
    threads, _ = in_threads(
        lambda i: far.api.claim(f"e-{i}", types=["none"], wait="2s"), range(6))
    jobs = [submit_script(lab, far, "echo one") for _ in range(6)]
    for job in jobs:
        assert far.api.wait(job)["status"] == "completed"
    for thread in threads:
        thread.join(40)
    for server in (near, far):
        assert server.stop() == 0
    said = bouncer.log.read_text()
    for word in ("got dirty", "not ready", "unclean", "not linked"):
        assert word not in said
    # The witness shows that what stays is seen.
    assert kept(lab) == ["listens:witness", "set:work_mem"]


def test_claims_wait_and_two_servers_find_each_others_jobs(lab):
    near, far = lab.server(), lab.server()
    threads, results = in_threads(
        lambda i: far.api.claim(f"e-{i}", wait="30s"), range(6))
    parked(far, 6)
    ids = {near.api.submit()["id"] for _ in range(3)}
    ids |= {far.api.submit()["id"] for _ in range(3)}
    for thread in threads:
        thread.join(40)
    got = [job for jobs in results.values() for job in jobs]
    assert {job["id"] for job in got} == ids
    for i, jobs in results.items():
        assert near.api.finish(jobs[0], f"e-{i}") == 204
    invariants.check(lab.store)


def test_live_output_leases_and_cancels(lab):
    gates = Gates(lab)
    near, far = lab.server("--heartbeat-timeout", "2s"), lab.server(
        "--heartbeat-timeout", "2s")
    worker = lab.executor(near, "--max-jobs", "2", *FAST)
    job = submit_script(lab, far, f"echo one; {gates.wait('a')}; echo two")
    told = submit_script(lab, far, "echo $$; exec sleep 600")
    reader = Follower(far, job)
    assert reader.until(b"one\n") == b"one\n"
    near.api.wait_status(told, "running")
    assert far.api.delete(f"/jobs/{told}").status in (200, 202, 204)
    assert near.api.wait(told)["status"] == "cancelled"
    time.sleep(3)  # longer than a lease without a heartbeat
    assert far.api.job(job)["attempt"] == 1
    gates.open("a")
    assert reader.rest() == b"one\ntwo\n"
    assert far.api.wait(job)["executor_id"] == worker.id
    invariants.check(lab.store)


@pytest.mark.long
def test_a_pooler_that_dies_under_load(lab, bouncer):
    servers = [lab.server("--heartbeat-timeout", "3s") for _ in range(2)]
    for server in servers:
        lab.executor(server, "--max-jobs", "3", *FAST)
    loads = [Load(lab, server.url).start(threads=2) for server in servers]
    for _ in range(3):
        time.sleep(0.7)
        bouncer.kill()
        time.sleep(0.3)
        bouncer.start()
    time.sleep(1)
    for load in loads:
        load.stop()
    for load in loads:
        load.settled()
    # What every load did is in one store.
    accepted = {**loads[0].accepted, **loads[1].accepted}
    done = {row[0] for row in lab.store.query(
        "SELECT id FROM jobs WHERE status = 'completed'")}
    assert set(accepted.values()) <= done
    assert all(server.running for server in servers)
    invariants.check(lab.store)
