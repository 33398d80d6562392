# SPDX-License-Identifier: MIT
"""Executors, servers and hosts that lose each other: one test an item."""

import json
import os
import signal
import socket
import subprocess
import time

import pytest

import harness
import invariants
from harness import PATIENCE
from proxy import DOWN
from rounds import WITNESS, Trace, alive, number

FAST = ("--heartbeat-interval", "300ms", "--poll-interval", "200ms")
BEAT = "PUT /api/v1/executors/"


class Gated:
    """Jobs that run until their gate is opened, and print who they are."""

    def __init__(self, lab, server):
        self.lab, self.server = lab, server
        self.trace = Trace(lab.place)
        self.sha256 = server.api.upload(WITNESS)
        self.count = 0

    def submit(self, **fields):
        token = f"g{self.count}"
        self.count += 1
        answer = self.server.api.post("/jobs", {
            "type": "t", "binary_sha256": self.sha256, **fields,
            "arguments": [str(self.trace.path), token, str(self.gate(token)),
                          "120000"]})
        assert answer.status == 201, answer
        return answer.json["id"], token

    def gate(self, token):
        return self.lab.place / f"gate-{token}"

    def open(self, token):
        self.gate(token).touch()

    def runs(self, token):
        return self.trace.runs().get(token, [])

    def started(self, token, count=1):
        harness.until(lambda: len(self.runs(token)) >= count,
                      f"{count} runs of {token} have begun")

    def held_by(self, job, worker):
        harness.until(
            lambda: self.server.api.job(job).get("executor_id") == worker.id,
            f"{job} is {worker.id}'s")


def said(worker, message):
    return [r for r in worker.records() if r.get("msg") == message]


def refused(worker):
    """What it was told of results that came too late."""
    return {r.get("code") for r in said(worker, "the end of a job does not "
                                                "count")}


def test_t30_a_result_of_a_lost_attempt_changes_nothing(lab):
    """Cut off for longer than the lease, the job taken over and done by
    another, then healed: whatever the first one says is too late."""
    server = lab.server("--heartbeat-timeout", "1s")
    gated, proxy = Gated(lab, server), lab.proxy(server)
    job, token = gated.submit()
    first = lab.executor(proxy.url, *FAST)
    gated.started(token)
    proxy.cut()
    second = lab.executor(server, *FAST)
    gated.started(token, 2)
    # Both run: an ordinary job is not ended for a lease that is in doubt.
    gated.open(token)
    done = server.api.wait(job)
    harness.until(lambda: all(run.ended for run in gated.runs(token)),
                  "both have come to their end")
    assert done["executor_id"] == second.id and done["attempt"] == 2
    proxy.heal(reset=True)
    after, late = gated.submit(type="after")
    gated.open(late)
    server.api.wait(after)
    harness.until(lambda: first.id in [
        e["executor_id"] for e in server.api.get("/admin/executors").json
        if e["running_jobs"] == 0], "the first one is back")
    harness.until(lambda: refused(first) or said(
        first, "the lease of a job is lost"), "it was told that it is late")
    assert server.api.job(job) == done
    assert [(a["executor_id"], a["status"]) for a in done["attempts"]] == [
        (first.id, "timeout"), (second.id, "completed")]
    # It kept nothing to tell again, and is good for more.
    second.stop()
    more, token = gated.submit()
    gated.open(token)
    assert server.api.wait(more)["executor_id"] == first.id
    assert first.stop() == 0
    invariants.check(lab.store)


def test_t31_a_result_gets_through_where_heartbeats_do_not(lab):
    server = lab.server("--heartbeat-timeout", "60s")
    gated, proxy = Gated(lab, server), lab.proxy(server)
    first = lab.executor(proxy.url, *FAST)
    job, token = gated.submit()
    gated.started(token)
    proxy.refuse(BEAT)
    first.wait_for("cannot renew leases, trying again")
    gated.open(token)
    done = server.api.wait(job)
    assert done["status"] == "completed" and done["attempt"] == 1
    invariants.check(lab.store)


def test_t31_without_heartbeats_a_result_after_takeover_is_refused(lab):
    server = lab.server("--heartbeat-timeout", "1s")
    gated, proxy = Gated(lab, server), lab.proxy(server)
    first = lab.executor(proxy.url, *FAST)
    job, token = gated.submit()
    gated.started(token)
    proxy.refuse(BEAT)
    second = lab.executor(server, *FAST)
    gated.held_by(job, second)
    gated.started(token, 2)
    gated.open(token)
    harness.until(lambda: refused(first), "its result was refused")
    assert refused(first) == {"lost_attempt"}
    done = server.api.wait(job)
    assert done["executor_id"] == second.id and done["attempt"] == 2
    invariants.check(lab.store)


def test_t32_a_result_whose_answer_is_lost_is_told_again_and_counts_once(lab):
    server = lab.server("--heartbeat-timeout", "60s")
    gated, proxy = Gated(lab, server), lab.proxy(server)
    worker = lab.executor(proxy.url, *FAST)
    job, token = gated.submit()
    gated.started(token)
    proxy.cut(DOWN)
    gated.open(token)
    done = server.api.wait(job)
    assert done["status"] == "completed"
    proxy.heal(reset=True)
    worker.wait_for("cannot report jobs, trying again")
    after, token = gated.submit()
    gated.open(token)
    assert server.api.wait(after)["executor_id"] == worker.id
    assert worker.stop() == 0
    assert not refused(worker), "what is told again is no news"
    assert server.api.job(job) == done and len(done["attempts"]) == 1
    invariants.check(lab.store)


@pytest.mark.long
def test_t33_a_job_whose_claim_was_not_heard_of_comes_back(lab):
    """The claim is answered into a dead network. The executor, back, does not
    name the job, which is then given out again and counts for nothing."""
    server = lab.server("--heartbeat-timeout", "60s")
    gated, proxy = Gated(lab, server), lab.proxy(server)
    worker = lab.executor(proxy.url, *FAST)
    warm, token = gated.submit()
    gated.open(token)
    server.api.wait(warm)
    harness.until(lambda: server.api.get("/admin/executors").json,
                  "its claim is parked")
    proxy.cut(DOWN)
    job, token = gated.submit()
    server.api.wait_status(job, "running")
    gated.open(token)
    proxy.heal(reset=True)
    done = server.api.wait(job, 60)
    assert done["status"] == "completed" and done["executor_id"] == worker.id
    assert done["retry_count"] == 0 and done["attempt"] == 2
    assert len(gated.runs(token)) == 1
    assert done["attempts"][0]["status"] != "timeout"
    invariants.check(lab.store)


def test_t36_a_host_that_dies_at_once_loses_its_jobs_and_starts_anew(lab):
    """Guard and all: no process says anything more. What comes up again under
    the same name and with the same directories is another executor."""
    server = lab.server("--heartbeat-timeout", "1s")
    gated = Gated(lab, server)
    places = ("--cache-dir", lab.place / "cache", "--work-dir",
              lab.place / "work", "--name", "host")
    first = lab.executor(server, *FAST, *places)
    job, token = gated.submit()
    gated.started(token)
    began = set(alive(lab.place / "cache"))
    assert len(began) >= 2, "the executor and its guard"
    for pid in began:
        os.kill(pid, signal.SIGKILL)
    first.process.wait(PATIENCE)
    second = lab.executor(server, *FAST, *places)
    assert second.id != first.id and second.id.startswith("host-")
    gated.held_by(job, second)
    gated.started(token, 2)
    gated.open(token)
    done = server.api.wait(job)
    assert [(a["executor_id"], a["status"]) for a in done["attempts"]] == [
        (first.id, "timeout"), (second.id, "completed")]
    assert second.stop() == 0
    assert not list((lab.place / "work").iterdir())
    invariants.check(lab.store)


def test_t36_a_host_that_goes_down_in_order_gives_jobs_back_at_once(lab):
    server = lab.server("--heartbeat-timeout", "60s")
    gated = Gated(lab, server)
    first = lab.executor(server, *FAST)
    job, token = gated.submit()
    gated.started(token)
    first.signal(signal.SIGTERM)
    first.wait_for("stopping: no new jobs, waiting for those that run")
    first.signal(signal.SIGTERM)
    assert first.process.wait(PATIENCE) == 0
    assert server.api.job(job)["status"] == "pending"
    second = lab.executor(server, *FAST)
    gated.open(token)
    done = server.api.wait(job)
    assert done["executor_id"] == second.id
    assert done["attempts"][0]["status"] != "timeout"
    invariants.check(lab.store)


def test_t37_executors_of_one_name_do_not_touch_each_others_jobs(lab):
    """An id is new at each start: two hosts with one configuration are two
    executors, and neither has a say in what the other holds."""
    server = lab.server("--heartbeat-timeout", "60s")
    gated = Gated(lab, server)
    twins, jobs = [], []
    for _ in range(2):
        twins.append(lab.executor(server, "--name", "twin", *FAST))
        jobs.append(gated.submit())
        gated.started(jobs[-1][1])
        gated.held_by(jobs[-1][0], twins[-1])
    assert twins[0].id != twins[1].id
    assert {t.id.rsplit("-", 1)[0] for t in twins} == {"twin"}
    # A heartbeat that names the other's job renews and takes nothing.
    beat = server.api.put(f"/executors/{twins[0].id}", {
        "executor_ip": "i", "max_jobs": 1, "running": [
            {"id": jobs[0][0], "attempt": 1}, {"id": jobs[1][0], "attempt": 1}
        ]})
    assert beat.status == 200 and beat.json["lost"] == [jobs[1][0]]
    late = server.api.finish({"id": jobs[1][0], "attempt": 1}, twins[0].id)
    assert late == 409
    # The farewell of one is not the other's.
    twins[0].signal(signal.SIGTERM)
    twins[0].wait_for("stopping: no new jobs, waiting for those that run")
    twins[0].signal(signal.SIGTERM)
    assert twins[0].process.wait(PATIENCE) == 0
    assert server.api.job(jobs[0][0])["status"] == "pending"
    record = server.api.job(jobs[1][0])
    assert record["status"] == "running"
    assert record["executor_id"] == twins[1].id and record["attempt"] == 1
    for _, token in jobs:
        gated.open(token)
    for job, _ in jobs:
        assert server.api.wait(job)["executor_id"] == twins[1].id
    assert server.api.job(jobs[1][0])["attempt"] == 1
    invariants.check(lab.store)


@pytest.mark.long
def test_t38_a_busy_machine_loses_no_job(lab):
    """Fifty loops that never rest, beside leases of three seconds."""
    server = lab.server("--heartbeat-timeout", "3s")
    gated = Gated(lab, server)
    worker = lab.executor(server, "--max-jobs", "4", "--poll-interval",
                          "200ms")
    jobs = [gated.submit(exclusive=i % 2 == 0) for i in range(4)]
    for _, token in jobs:
        gated.started(token)
    loops = [subprocess.Popen(
        ["setpriv", "--pdeathsig=KILL", "/bin/sh", "-c",
         "while :; do :; done"]) for _ in range(50)]
    try:
        time.sleep(9)
    finally:
        for loop in loops:
            loop.kill()
            loop.wait()
    for job, token in jobs:
        record = server.api.job(job)
        assert record["status"] == "running" and record["attempt"] == 1, record
        gated.open(token)
    for job, token in jobs:
        done = server.api.wait(job)
        assert done["attempt"] == 1 and done["executor_id"] == worker.id
        assert len(gated.runs(token)) == 1
    assert not said(worker, "the lease of a job is lost")
    invariants.check(lab.store)


class Parked:
    """A claim on a connection of its own, waiting at the server."""

    def __init__(self, port, name):
        body = json.dumps({"executor_id": name, "executor_ip": "i",
                           "wait": "60s"}).encode()
        self.socket = socket.create_connection(("127.0.0.1", port), PATIENCE)
        self.socket.sendall(
            b"POST /api/v1/jobs/claim HTTP/1.1\r\nHost: h\r\n"
            b"Content-Type: application/json\r\nContent-Length: "
            + str(len(body)).encode() + b"\r\n\r\n" + body)

    def answer(self):
        """Status and body; None where the connection ended without."""
        with self.socket, self.socket.makefile("rb") as stream:
            try:
                line = stream.readline()
                if not line:
                    return None
                length = 0
                for header in iter(stream.readline, b"\r\n"):
                    if header.lower().startswith(b"content-length:"):
                        length = int(header.split(b":")[1])
                return int(line.split()[1]), stream.read(length)
            except ConnectionError:
                return None


@pytest.mark.long
def test_t39_all_are_served_again_after_a_restart(lab):
    """Three hundred claims wait, or EXECUTR_TEST_CLAIMS; the server is killed,
    and all of them come back in the same moment: each gets its job, and none
    gets two, all within ten seconds."""
    count = number("EXECUTR_TEST_CLAIMS", 300)
    server = lab.server("--max-connections", count * 5 // 4 + 128)
    names = [f"e-{i}" for i in range(count)]
    parked = [Parked(server.port, name) for name in names]
    harness.until(lambda: server.threads() > count, "they have arrived")
    time.sleep(0.5)
    server.kill()
    assert [claim.answer() for claim in parked] == [None] * count
    server = lab.restart(server)
    began = time.monotonic()
    parked = [Parked(server.port, name) for name in names]
    answer = server.api.post("/jobs/bulk", [
        {"type": "t", "binary_sha256": "ab" * 32,
         "binary_url": "http://127.0.0.1:9/none"}] * count)
    assert answer.json["successful"] == count
    answers = [claim.answer() for claim in parked]
    assert [status for status, _ in answers] == [200] * count
    assert time.monotonic() - began < 10
    got = {json.loads(body)["id"] for _, body in answers}
    assert len(got) == count
    invariants.check(lab.store)
