# SPDX-License-Identifier: MIT
"""Waiting claims, leases and fences: executors that stop, die or come back."""

import json
import os
import signal
import socket
import threading
import time

import pytest

import harness
import invariants

FAST = ("--heartbeat-interval", "300ms", "--poll-interval", "200ms")
PATH = {"PATH": "/usr/bin:/bin"}


def submit_script(lab, server, text, **fields):
    answer = server.api.post("/jobs", {
        "type": "t", "binary_sha256": server.api.upload(lab.script(text)),
        "env_variables": PATH, **fields})
    assert answer.status == 201, answer
    return answer.json["id"]


def in_threads(function, items):
    """Call it for each item at once; the threads, and where results go."""
    results = {}
    threads = [threading.Thread(
        target=lambda item=item: results.update({item: function(item)}))
        for item in items]
    for thread in threads:
        thread.start()
    return threads, results


def parked(server, count):
    """Wait until so many claims wait at the server."""
    harness.until(lambda: len(established(server.port)) >= count,
                  f"{count} claims are waiting")
    time.sleep(0.2)


def established(port):
    """Local connections to a port, from /proc/net/tcp."""
    with open("/proc/net/tcp") as table:
        rows = [line.split() for line in table][1:]
    return [row for row in rows
            if int(row[1].split(":")[1], 16) == port and row[3] == "01"]


def test_each_waiting_claim_gets_one_job(lab):
    server = lab.server()
    api = server.api
    threads, results = in_threads(
        lambda i: api.claim(f"e-{i}", wait="30s"), range(12))
    parked(server, 12)
    ids = {api.submit()["id"] for _ in range(12)}
    for thread in threads:
        thread.join(30)
    got = [jobs[0]["id"] for jobs in results.values()]
    assert len(got) == 12 and set(got) == ids


def test_a_wait_ends_empty_and_minds_its_filter(lab):
    server = lab.server()
    api = server.api
    threads, results = in_threads(
        lambda kind: api.claim(f"e-{kind}", wait="2s", types=[kind]),
        ["a", "b"])
    parked(server, 2)
    job = api.submit(type="b")
    for thread in threads:
        thread.join(30)
    assert results["a"] == [] and results["b"][0]["id"] == job["id"]


def test_an_end_in_order_answers_waiting_claims(lab):
    server = lab.server()
    threads, results = in_threads(
        lambda i: server.api.post("/jobs/claim", {
            "executor_id": f"e-{i}", "executor_ip": "i",
            "wait": "60s"}).status, range(20))
    parked(server, 20)
    assert server.stop(10) == 0
    for thread in threads:
        thread.join(10)
    assert set(results.values()) == {204} and len(results) == 20
    assert "stopped" in server.text
    invariants.check(lab.store)


def test_a_claim_whose_client_died_costs_nothing(lab):
    server = lab.server("--heartbeat-timeout", "1s")
    body = json.dumps({"executor_id": "ghost", "executor_ip": "i",
                       "wait": "30s"}).encode()
    with socket.create_connection(("127.0.0.1", server.port)) as s:
        s.sendall(b"POST /api/v1/jobs/claim HTTP/1.1\r\nHost: h\r\n"
                  b"Content-Type: application/json\r\nContent-Length: "
                  + str(len(body)).encode() + b"\r\n\r\n" + body)
        time.sleep(0.3)
    job = server.api.submit()["id"]
    got = server.api.claim("e-2", wait="20s")
    assert [j["id"] for j in got] == [job]
    assert server.api.finish(got[0], "e-2") == 204


def test_a_silent_executor_loses_its_job_and_its_late_report(lab):
    server = lab.server("--heartbeat-timeout", "1s")
    api = server.api
    api.submit(max_retries=0)
    first = api.claim("silent")[0]
    second = api.claim("other", wait="30s")[0]
    assert second["id"] == first["id"] and second["attempt"] == 2
    assert second["retry_count"] == 0
    late = api.put(f"/jobs/{first['id']}/complete", {
        "executor_id": "silent", "attempt": 1, "exit_code": 0,
        "stdout": "late"})
    assert late.status == 409 and late.json["code"] == "lost_attempt"
    late = api.put(f"/jobs/{first['id']}/heartbeat", {
        "executor_id": "silent", "attempt": 1})
    assert late.status == 409
    beat = api.put("/executors/silent", {
        "executor_ip": "i", "max_jobs": 1,
        "running": [{"id": first["id"], "attempt": 1}]})
    assert beat.json["cancel"] == []
    assert beat.json["lost"] == [first["id"]]
    assert api.finish(second, "other", stdout="good") == 204
    job = api.job(first["id"])
    assert job["stdout"] == "good"
    assert [(a["attempt"], a["status"]) for a in job["attempts"]] == [
        (1, "timeout"), (2, "completed")]
    invariants.check(lab.store)


def test_heartbeats_keep_a_job(lab):
    server = lab.server("--heartbeat-timeout", "1s")
    server.api.submit()
    job = server.api.claim("e-1")[0]
    for _ in range(12):
        time.sleep(0.25)
        assert server.api.put(f"/jobs/{job['id']}/heartbeat", {
            "executor_id": "e-1", "attempt": 1}).status == 204
    assert server.api.finish(job) == 204


@pytest.mark.long
def test_a_claim_that_was_not_heard_of_comes_back(lab):
    server = lab.server("--heartbeat-timeout", "60s")
    server.api.submit()
    job = server.api.claim("deaf")[0]

    def beat():
        answer = server.api.put("/executors/deaf", {
            "executor_ip": "i", "max_jobs": 1, "running": []})
        assert answer.status == 200
        return server.api.job(job["id"])["status"] == "pending"
    harness.until(beat, "it is pending again", pause=0.5)
    record = server.api.job(job["id"])
    assert record["retry_count"] == 0
    assert record["attempts"][0]["status"] != "timeout"


def test_a_poison_job_ends(lab):
    server = lab.server(
        "--heartbeat-timeout", "300ms", "--max-lost-attempts", "3")
    job = server.api.submit(max_retries=100)["id"]
    for attempt in range(1, 4):
        got = server.api.claim(f"e-{attempt}", wait="30s")[0]
        assert got["attempt"] == attempt
    done = server.api.wait(job)
    assert done["status"] == "failed" and done["outcome"] == "lost"
    assert "3" in done["error_message"]
    assert [a["status"] for a in done["attempts"]] == ["timeout"] * 3
    assert server.api.claim("e-5") == []
    invariants.check(lab.store)


def test_a_job_that_kills_its_executors_ends(lab):
    server = lab.server(
        "--heartbeat-timeout", "1s", "--max-lost-attempts", "2")
    job = submit_script(lab, server, """
        executor=$(ps -o ppid= -p $$ | tr -d ' ')
        while [ "$(cat /proc/$executor/comm)" != executr-executo ]; do
            executor=$(ps -o ppid= -p $executor | tr -d ' ')
        done
        kill -9 $executor; sleep 60""")
    for _ in range(2):
        victim = lab.executor(server, *FAST)
        assert victim.process.wait(30) == -signal.SIGKILL
    done = server.api.wait(job)
    assert done["status"] == "failed" and done["outcome"] == "lost"


def processes_in(directory):
    """Processes whose working directory is below this one."""
    found = []
    for pid in harness.parents():
        try:
            if os.readlink(f"/proc/{pid}/cwd").startswith(str(directory)):
                found.append(pid)
        except OSError:
            continue
    return found


def test_another_executor_takes_over_and_nothing_is_left(lab):
    server = lab.server("--heartbeat-timeout", "1s")
    job = submit_script(lab, server, """
        if mkdir /tmp/executr-takeover-$1 2>/dev/null; then
            sleep 1000 & setsid sleep 1000 & sleep 1000
        fi
        rmdir /tmp/executr-takeover-$1
        echo done""", arguments=[str(os.getpid())])
    first = lab.executor(server, *FAST)
    harness.until(lambda: len(processes_in(first.work)) >= 4, "it runs")
    first.kill()
    second = lab.executor(server, *FAST)
    done = server.api.wait(job)
    assert done["status"] == "completed" and done["stdout"] == "done\n"
    assert done["executor_id"] == second.id
    assert [a["status"] for a in done["attempts"]] == ["timeout", "completed"]
    harness.until(
        lambda: not processes_in(first.work), "all its processes are gone")
    invariants.check(lab.store)


def test_a_stopped_executor_comes_back_too_late(lab):
    server = lab.server("--heartbeat-timeout", "1s")
    gate = lab.place / "gate"
    job = submit_script(
        lab, server, f"until [ -e {gate} ]; do sleep 0.05; done; echo $$")
    first = lab.executor(server, *FAST)
    server.api.wait_status(job, "running")
    harness.until(lambda: processes_in(first.work), "it runs")
    first.signal(signal.SIGSTOP)
    second = lab.executor(server, *FAST)
    harness.until(
        lambda: server.api.job(job).get("executor_id") == second.id,
        "taken over")
    gate.touch()
    done = server.api.wait(job)
    assert done["executor_id"] == second.id and done["attempt"] == 2
    harness.until(lambda: not processes_in(first.work), "the first one ended")
    first.signal(signal.SIGCONT)
    harness.until(lambda: first.id in [
        e["executor_id"] for e in server.api.get("/admin/executors").json
        if e["running_jobs"] == 0], "it is back")
    after = submit_script(lab, server, "echo more")
    assert server.api.wait(after)["status"] == "completed"
    again = server.api.job(job)
    assert again["stdout"] == done["stdout"]
    assert again["attempts"] == done["attempts"]
    invariants.check(lab.store)


def test_exclusive_attempts_never_overlap(lab):
    server = lab.server("--heartbeat-timeout", "2s")
    log, gate = lab.place / "log", lab.place / "gate"
    job = submit_script(lab, server, f"""
        until [ -e {gate} ]; do echo $$ >> {log}; sleep 0.02; done""",
        exclusive=True)
    first = lab.executor(server, *FAST)
    harness.until(log.exists, "it runs")
    first.signal(signal.SIGSTOP)
    second = lab.executor(server, *FAST)
    harness.until(
        lambda: len(set(log.read_text().split())) == 2, "a second attempt")
    time.sleep(0.3)
    gate.touch()
    assert server.api.wait(job)["executor_id"] == second.id
    writers = log.read_text().split()
    changes = sum(a != b for a, b in zip(writers, writers[1:]))
    assert changes == 1, "two attempts wrote in turn"


def test_an_executor_told_to_end_lets_its_jobs_finish(lab):
    server = lab.server("--heartbeat-timeout", "2s")
    gate = lab.place / "gate"
    running = submit_script(
        lab, server, f"until [ -e {gate} ]; do sleep 0.05; done; echo end")
    worker = lab.executor(server, *FAST)
    server.api.wait_status(running, "running")
    worker.signal(signal.SIGTERM)
    waiting = submit_script(lab, server, "echo other")
    time.sleep(3)
    assert worker.running, "it must outlast the heartbeat timeout"
    gate.touch()
    assert worker.process.wait(30) == 0
    done = server.api.job(running)
    assert done["status"] == "completed" and done["attempt"] == 1
    assert server.api.job(waiting)["status"] == "pending"
    assert worker.id not in [
        e["executor_id"] for e in server.api.get("/admin/executors").json
        if e["running_jobs"]]


def test_told_twice_it_gives_its_jobs_back(lab):
    server = lab.server("--heartbeat-timeout", "60s")
    job = submit_script(lab, server, "trap '' TERM; sleep 1000; sleep 1000")
    worker = lab.executor(server, *FAST)
    server.api.wait_status(job, "running")
    harness.until(lambda: processes_in(worker.work), "it runs")
    worker.signal(signal.SIGTERM)
    time.sleep(0.2)
    worker.signal(signal.SIGTERM)
    assert worker.process.wait(30) == 0
    assert server.api.job(job)["status"] == "pending"
    assert not processes_in(worker.work)


def test_an_outage_of_the_server_costs_nobody_a_job(lab):
    server = lab.server("--heartbeat-timeout", "2s")
    gate = lab.place / "gate"
    job = submit_script(
        lab, server, f"until [ -e {gate} ]; do sleep 0.05; done; echo $$")
    worker = lab.executor(server, *FAST)
    harness.until(lambda: processes_in(worker.work), "it runs")
    server.kill()
    time.sleep(3)
    server = lab.restart(server)
    time.sleep(3)
    record = server.api.job(job)
    assert record["status"] == "running" and record["attempt"] == 1
    server.kill()
    gate.touch()
    harness.until(lambda: not processes_in(worker.work), "it ended")
    server = lab.restart(server)
    done = server.api.wait(job)
    assert done["status"] == "completed" and done["attempt"] == 1
    invariants.check(lab.store)


def test_an_outage_before_the_fetch_costs_nobody_a_job(lab):
    """What the executor holds and has not fetched yet waits for the server."""
    server = lab.server("--heartbeat-timeout", "2s")
    proxy = lab.proxy(server)
    proxy.refuse("/binaries/")
    worker = lab.executor(proxy.url, *FAST)
    job = submit_script(lab, server, "echo $$")
    worker.wait_for("cannot fetch a binary from the server, trying again")
    server.kill()
    time.sleep(3)
    server = lab.restart(server)
    proxy.refuse(None)
    done = server.api.wait(job)
    assert done["status"] == "completed" and done["attempt"] == 1
    assert "fetch_failed" not in worker.text
    invariants.check(lab.store)


def test_executors_wait_for_a_server(lab):
    port = harness.free_port()
    worker = lab.executor(f"http://127.0.0.1:{port}", *FAST)
    time.sleep(0.5)
    assert worker.running
    server = lab.server(port=port)
    job = submit_script(lab, server, "echo hello")
    assert server.api.wait(job)["executor_id"] == worker.id


def test_executors_keep_to_their_types_and_priorities(lab):
    server = lab.server()
    worker = lab.executor(
        server, "--types", "a,b", "--priorities", "foreground,best_effort",
        *FAST)
    chosen = submit_script(lab, server, "exit 0", type="b",
                           priority="best_effort")
    others = [submit_script(lab, server, "exit 0", **fields) for fields in (
        {"type": "c", "priority": "foreground"},
        {"type": "a", "priority": "background"})]
    assert server.api.wait(chosen)["executor_id"] == worker.id
    for job in others:
        assert server.api.job(job)["status"] == "pending"


def test_two_servers_share_a_database(postgres_lab):
    lab = postgres_lab
    one, two = lab.server(), lab.server()
    threads, results = in_threads(
        lambda i: two.api.claim(f"e-{i}", wait="30s"), range(3))
    parked(two, 3)
    ids = {one.api.submit()["id"] for _ in range(3)}
    for thread in threads:
        thread.join(40)
    assert {jobs[0]["id"] for jobs in results.values()} == ids
    for name, jobs in results.items():
        assert one.api.finish(jobs[0], f"e-{name}") == 204
    workers = [lab.executor(server, "--max-jobs", "4", *FAST)
               for server in (one, two)]
    sha256 = one.api.upload(lab.script("exit 0"))
    for server in (one, two):
        answer = server.api.post("/jobs/bulk", [
            {"type": "t", "binary_sha256": sha256}] * 100)
        assert answer.json["successful"] == 100
    harness.until(lambda: one.api.stats()["jobs_by_status"] == {
        "pending": 0, "running": 0, "completed": 203, "failed": 0,
        "cancelled": 0}, "all were completed", 60)
    assert one.stop() == 0
    job = submit_script(lab, two, "exit 0")
    assert two.api.wait(job)["executor_id"] == workers[1].id
    invariants.check(lab.store)


def test_one_server_at_a_time_has_an_embedded_store(sqlite_lab):
    first = sqlite_lab.server()
    second = sqlite_lab.program(
        "executr-server", "--db-url", sqlite_lab.store.url, "--port", "0")
    assert second.process.wait(30) == 1
    assert "in use" in second.text
    assert first.api.get("/health").status == 200
