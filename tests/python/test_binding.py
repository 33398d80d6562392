# SPDX-License-Identifier: MIT
"""A job system inside this process, by Python."""

import gc
import hashlib
import logging
import math
import os
import signal
import subprocess
import sys
import threading
import time

import pytest

import executr

SHA = "ab" * 32
URL = "http://127.0.0.1:1/never-fetched"


@pytest.fixture
def store(tmp_path):
    with executr.Store(f"sqlite://{tmp_path}/jobs.db") as store:
        yield store


@pytest.fixture
def queue(store):
    with executr.Queue(store) as queue:
        yield queue


@pytest.fixture
def script(tmp_path):
    """Make an executable of shell lines."""
    def make(text):
        path = tmp_path / f"script-{time.monotonic_ns()}"
        path.write_text(f"#!/bin/sh\n{text}\n")
        path.chmod(0o755)
        return path
    return make


def places(tmp_path):
    return {"cache_directory": tmp_path / "cache",
            "work_directory": tmp_path / "work"}


def submit(queue, **fields):
    return queue.submit(binary_sha256=SHA, binary_url=URL, **fields)


def wait(queue, job_id):
    end = time.monotonic() + 30
    while time.monotonic() < end:
        job = queue.get(job_id)
        if job.finished:
            return job
        time.sleep(0.02)
    raise AssertionError(f"{job} is not over")


def test_versions(store):
    assert executr.version().count(".") == 2
    assert store.kind == "sqlite"
    store.ping()


def test_a_job_comes_back_as_it_was_submitted(queue):
    job = submit(
        queue, arguments=["a", "", "ü"], environment={"K": "v=w", "E": ""},
        type="nightly", priority="foreground", max_retries=2, exclusive=True,
        timeout=1.5, kill_grace=0.25, memory_mb=64, cpu_seconds=3,
        max_processes=4, max_file_mb=5, isolation="basic")
    again = queue.get(job.id)
    assert again.arguments == ["a", "", "ü"]
    assert again.environment == {"K": "v=w", "E": ""}
    assert (again.type, again.priority) == ("nightly", "foreground")
    assert (again.max_retries, again.exclusive) == (2, True)
    assert (again.timeout, again.kill_grace) == (1.5, 0.25)
    assert (again.memory_mb, again.cpu_seconds) == (64, 3)
    assert (again.max_processes, again.max_file_mb) == (4, 5)
    assert (again.isolation, again.status) == ("basic", "pending")
    assert again.binary_sha256 == SHA and again.binary_url == URL
    assert abs(again.created_at.timestamp() - time.time()) < 60
    assert again.started_at is None and again.exit_code is None


def test_claim_and_report_keep_every_byte(queue):
    job = submit(queue)
    claimed, = queue.claim("e-1", "127.0.0.1")
    assert (claimed.id, claimed.attempt) == (job.id, 1)
    output = bytes(range(256)) * 10
    result = queue.report("e-1", [executr.Report(
        job.id, claimed.attempt, exit_code=3, stdout=output,
        stderr=b"\0\xff")])
    assert result == [None]
    done = queue.get(job.id)
    assert done.status == "completed" and done.exit_code == 3
    assert (done.stdout, done.stderr) == (output, b"\0\xff")
    assert [(a.number, a.status, a.executor_id) for a in done.attempts] == [
        (1, "completed", "e-1")]


def test_reports_of_lost_attempts_are_refused(queue):
    job = submit(queue)
    claimed, = queue.claim("e-1", "127.0.0.1")
    lost, unknown = queue.report("e-2", [
        executr.Report(job.id, claimed.attempt, exit_code=0),
        executr.Report("0192f0c1-7a7e-7cc3-98c4-dc0c0c07398f", exit_code=0)])
    assert isinstance(lost, executr.LostAttempt)
    assert isinstance(unknown, executr.NotFound)
    assert queue.get(job.id).status == "running"


def test_a_failure_needs_its_words(queue):
    job = submit(queue)
    queue.claim("e-1", "127.0.0.1")
    refused, = queue.report("e-1", [executr.Report(job.id, status="failed")])
    assert isinstance(refused, executr.ArgumentError)
    done, = queue.report("e-1", [executr.Report(
        job.id, status="failed", outcome="signal", signal=9,
        error_message="killed")])
    assert done is None
    job = queue.get(job.id)
    assert (job.status, job.outcome, job.signal) == ("failed", "signal", 9)
    assert job.error_message == "killed" and job.exit_code is None


def test_heartbeats_tell_verdicts(queue):
    first, second = submit(queue), submit(queue)
    queue.claim("e-1", "127.0.0.1", max_jobs=2)
    assert queue.cancel(second.id) == "running"
    gone = "0192f0c1-7a7e-7cc3-98c4-dc0c0c07398f"
    verdicts = queue.heartbeat(
        "e-1", "127.0.0.1", [(first.id, 1), (second.id, 1), (gone, 1)])
    assert verdicts == {
        first.id: "kept", second.id: "cancel", gone: "unknown"}
    assert [e["executor_id"] for e in queue.executors()] == ["e-1"]
    queue.goodbye("e-1")
    assert queue.get(first.id).status == "pending"


def test_bulk_tells_the_fate_of_each(queue):
    good = executr.JobSpec(SHA, URL)
    bad = executr.JobSpec("0" * 63, URL)
    first, refused, last = queue.submit_many([good, bad, good])
    assert isinstance(first, executr.Job) and isinstance(last, executr.Job)
    assert first.id != last.id
    assert isinstance(refused, executr.ArgumentError)


def test_lists_page_and_filter(queue):
    ids = [submit(queue, type=f"t{i % 2}").id for i in range(7)]
    page = queue.list(limit=3)
    assert [job.id for job in page] == ids[:-4:-1] and page.more
    assert [job.id for job in queue.jobs(limit=2)] == ids[::-1]
    assert [job.id for job in queue.jobs(type="t0", limit=2)] == ids[::-2]
    assert not queue.list(status="running").more
    assert queue.stats()["jobs_by_status"]["pending"] == 7
    assert queue.cancel_matching(type="t1") == 3
    assert queue.stats()["jobs_by_status"]["cancelled"] == 3


def test_cancel_and_retry(queue):
    job = submit(queue)
    assert queue.cancel(job.id) == "cancelled"
    with pytest.raises(executr.Conflict):
        queue.cancel(job.id)
    assert queue.retry(job.id).status == "pending"


def test_idempotency_keys_give_the_first_job(queue):
    first = submit(queue, idempotency_key="k")
    assert submit(queue, idempotency_key="k").id == first.id
    with pytest.raises(executr.Conflict) as caught:
        submit(queue, idempotency_key="k", arguments=["other"])
    assert caught.value.field == "Idempotency-Key"


def test_errors_have_class_field_and_message(queue):
    with pytest.raises(executr.NotFound) as caught:
        queue.get("0192f0c1-7a7e-7cc3-98c4-dc0c0c07398f")
    assert caught.value.status == -4 and str(caught.value)
    with pytest.raises(executr.ArgumentError) as caught:
        submit(queue, type="two words")
    assert caught.value.field == "type" and isinstance(
        caught.value, ValueError)
    with pytest.raises(executr.ArgumentError) as caught:
        submit(queue, priority="urgent")
    assert caught.value.field == "priority"
    with pytest.raises(executr.ArgumentError):
        executr.Store("mysql://localhost/jobs")


@pytest.mark.parametrize("fields, name", [
    ({"arguments": ["a\0b"]}, "arguments"),
    ({"environment": {"K": "a\0b"}}, "env_variables"),
    ({"type": "a\0b"}, "type")])
def test_a_nul_is_refused_and_not_cut_off(queue, fields, name):
    with pytest.raises(executr.ArgumentError) as caught:
        submit(queue, **fields)
    assert caught.value.field == name
    assert queue.list() == []


def test_binaries_go_in_and_out(queue, tmp_path):
    data = os.urandom(300_000)
    path = tmp_path / "data"
    path.write_bytes(data)
    sha256 = hashlib.sha256(data).hexdigest()
    assert executr.hash_file(path) == sha256
    assert queue.upload(path) == sha256
    assert queue.binary_size(sha256) == len(data)
    out = bytearray()
    queue.download(sha256, out.extend, offset=5)
    assert bytes(out) == data[5:]
    with open(path, "rb") as file:
        assert not queue.put_binary(sha256, file.read)
    with open(path, "rb") as file, pytest.raises(executr.HashMismatch):
        queue.put_binary(SHA, file.read)


def test_exceptions_of_callbacks_come_out(queue, tmp_path):
    path = tmp_path / "data"
    path.write_bytes(b"x" * 1000)
    sha256 = queue.upload(path)

    def fail(_piece):
        raise KeyError("mine")
    with pytest.raises(KeyError, match="mine"):
        queue.download(sha256, fail)
    with pytest.raises(KeyError, match="mine"):
        queue.put_binary(SHA, fail)
    with pytest.raises(ValueError, match="gave"):
        queue.put_binary(SHA, lambda size: b"x" * (size + 1))
    assert queue.binary_size(sha256) == 1000


def test_events_are_told(store):
    events = []
    with executr.Queue(store, on_event=events.append) as queue:
        job = submit(queue, type="t", priority="best_effort")
        queue.claim("e-1", "127.0.0.1")
        queue.report("e-1", [executr.Report(job.id, exit_code=0)])
    assert [(e.event, e.type, e.priority, e.count) for e in events] == [
        (name, "t", "best_effort", 1)
        for name in ("submitted", "claimed", "completed")]
    assert events[0].waited is None and events[1].waited >= 0
    assert events[2].ran >= 0


def test_a_waiting_claim_gets_a_job_of_another_thread(queue):
    jobs = []
    thread = threading.Thread(target=lambda: jobs.extend(
        queue.claim("e-1", "127.0.0.1", wait=30)))
    thread.start()
    job = submit(queue)
    thread.join(30)
    assert [j.id for j in jobs] == [job.id]


def test_close_ends_waiting_claims_first(queue):
    answers = []
    thread = threading.Thread(target=lambda: answers.append(
        queue.claim("e-1", "127.0.0.1", wait=60)))
    thread.start()
    while not queue._users:
        time.sleep(0.001)
    queue.close()
    thread.join(30)
    assert answers == [[]]
    with pytest.raises(executr.ArgumentError, match="closed"):
        queue.list()
    queue.close()


def test_closing_a_store_closes_its_queues(store):
    queue = executr.Queue(store)
    store.close()
    with pytest.raises(executr.ArgumentError, match="closed"):
        queue.list()
    with pytest.raises(executr.ArgumentError, match="closed"):
        executr.Queue(store)


def test_forgotten_handles_are_freed(tmp_path):
    url = f"sqlite://{tmp_path}/jobs.db"
    queue = executr.Queue(executr.Store(url))
    submit(queue)
    with pytest.raises(executr.Conflict):
        executr.Store(url)
    del queue
    gc.collect()
    with executr.Store(url) as store, executr.Queue(store) as queue:
        assert len(queue.list()) == 1


def test_a_worker_runs_jobs(queue, script, tmp_path):
    path = script('printf "%s|" "$@"; env; pwd; ls; echo oops >&2; exit 7')
    with executr.Worker(queue, name="w", **places(tmp_path)) as worker:
        worker.start()
        job = wait(queue, queue.submit(
            path, arguments=["a b", ""], environment={"K": "v"}).id)
        assert worker.id.startswith("w-") and job.executor_id == worker.id
    lines = job.stdout.decode().splitlines()
    assert lines[0].startswith("a b||")
    assert "K=v" in job.stdout.decode() and "HOME" not in lines[0]
    assert str(tmp_path / "work") in job.stdout.decode()
    assert job.stderr == b"oops\n" and job.exit_code == 7
    assert job.outcome == "exit" and job.status == "failed"
    assert job.completed_at >= job.started_at >= job.created_at


def test_leaving_a_worker_lets_its_jobs_finish(queue, script, tmp_path):
    started = tmp_path / "started"
    path = script(f"touch {started}; sleep 0.5; echo done")
    job = queue.submit(path, environment={"PATH": "/usr/bin:/bin"})
    with executr.Worker(queue, **places(tmp_path)) as worker:
        worker.start()
        while not started.exists():
            time.sleep(0.01)
    done = queue.get(job.id)
    assert (done.status, done.stdout) == ("completed", b"done\n")


def test_closing_a_worker_gives_its_jobs_back(queue, script, tmp_path):
    started = tmp_path / "started"
    path = script(f"touch {started}; exec sleep 60")
    job = queue.submit(path, environment={"PATH": "/usr/bin:/bin"})
    worker = executr.Worker(queue, **places(tmp_path)).start()
    while not started.exists():
        time.sleep(0.01)
    worker.close()
    assert queue.get(job.id).status == "pending"


def test_a_worker_starts_once(queue, tmp_path):
    with executr.Worker(queue, **places(tmp_path)) as worker:
        worker.start()
        with pytest.raises(RuntimeError):
            worker.start()


def test_logs_go_to_a_logger(queue, script, tmp_path, caplog):
    caplog.set_level(logging.DEBUG, "jobs")
    with executr.Worker(
            queue, log=logging.getLogger("jobs"),
            **places(tmp_path)) as worker:
        worker.start()
        wait(queue, queue.submit(script("exit 0")).id)
    assert caplog.records
    assert all(record.name == "jobs" for record in caplog.records)


PROGRAM = """
import executr, sys
store = executr.Store("sqlite://" + sys.argv[1] + "/own.db")
queue = executr.Queue(store)
worker = executr.Worker(
    queue, cache_directory=sys.argv[1] + "/cache",
    work_directory=sys.argv[1] + "/work")
"""


def test_exit_ends_a_forgotten_worker(tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM + "worker.start()", str(tmp_path)],
        capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")


def test_ctrl_c_ends_a_running_worker(tmp_path):
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM +
         "print('ready', flush=True)\nworker.run()\nprint('end')",
         str(tmp_path)], stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "ready\n"
    time.sleep(0.2)
    process.send_signal(signal.SIGINT)
    assert process.communicate(timeout=60)[0] == "end\n"
    assert process.returncode == 0


def test_a_server_that_is_away_is_unavailable():
    with executr.Client("http://127.0.0.1:1", timeout=5) as client:
        with pytest.raises(executr.Unavailable):
            client.health()
        with pytest.raises(executr.Unavailable):
            client.get("0192f0c1-7a7e-7cc3-98c4-dc0c0c07398f")
    with pytest.raises(executr.ArgumentError):
        executr.Client("ftp://127.0.0.1")


def test_times_are_seconds(queue):
    from executr import _library
    assert _library.milliseconds(None) == 0
    assert _library.milliseconds(0.0001) == 1
    assert _library.milliseconds(1.5) == 1500
    assert _library.milliseconds(math.inf) == -1


def test_t60_follow_gives_output_while_the_job_runs(queue, script, tmp_path):
    gate = tmp_path / "gate"
    path = script(f"echo one; until [ -e {gate} ]; do sleep 0.02; done; "
                  "echo two")
    job = queue.submit(path, environment={"PATH": "/usr/bin:/bin"})
    with executr.Worker(queue, **places(tmp_path)).start():
        seen = b""
        for piece in queue.follow(job.id, "stdout"):
            seen += piece
            if seen == b"one\n":
                assert queue.get(job.id).status == "running"
                gate.touch()
    assert seen == b"one\ntwo\n"
