# SPDX-License-Identifier: MIT
"""kill -9 at random moments under load: nothing accepted is lost, and each
job is recorded once."""

import time

import pytest

import invariants
from load import Load
from rounds import chance as seeded

pytestmark = pytest.mark.long
FAST = ("--heartbeat-interval", "300ms", "--poll-interval", "200ms")
KILLS = 20


def test_the_server_is_killed_again_and_again(lab):
    chance = seeded()
    server = lab.server("--heartbeat-timeout", "5s")
    for _ in range(2):
        lab.executor(server, "--max-jobs", "4", *FAST)
    load = Load(lab, server.url).start()
    for _ in range(KILLS):
        time.sleep(chance.uniform(0.05, 0.5))
        server.kill()
        server = lab.restart(server)
    time.sleep(0.5)
    load.stop()
    load.settled()
    runs = load.check(lab.store)
    assert server.stop() == 0
    # An executor that lives keeps its jobs, so none was run twice.
    assert not load.repeated(lab.store, runs)
    lost = lab.store.query(
        "SELECT count(*) FROM job_attempts WHERE status = 'timeout'")
    assert int(lost[0][0]) == 0
    invariants.check(lab.store)


def test_everything_is_killed_at_once(lab):
    chance = seeded()
    server = lab.server(
        "--heartbeat-timeout", "1s", "--max-lost-attempts", "1000")
    load = Load(lab, server.url, pause="0.02").start(2, 0.1)
    for _ in range(5):
        worker = lab.executor(server, "--max-jobs", "4", *FAST)
        time.sleep(chance.uniform(0.3, 0.8))
        worker.kill()
        server.kill()
        server = lab.restart(server)
    lab.executor(server, "--max-jobs", "4", *FAST)
    load.stop()
    load.settled()
    load.check(lab.store)
    assert server.stop() == 0
    invariants.check(lab.store)


def test_an_end_in_order_under_load(lab):
    server = lab.server("--heartbeat-timeout", "5s")
    lab.executor(server, "--max-jobs", "4", *FAST)
    load = Load(lab, server.url).start()
    for _ in range(3):
        time.sleep(0.5)
        assert server.stop(10) == 0
        server = lab.restart(server)
    time.sleep(0.5)
    load.stop()
    load.settled()
    runs = load.check(lab.store)
    assert max(runs.values()) == 1
    assert server.stop() == 0
    invariants.check(lab.store)
