# SPDX-License-Identifier: MIT
"""The binary cache of real executors, and the command that looks after it."""

import contextlib
import hashlib
import http.server
import json
import pathlib
import shutil
import subprocess
import tempfile
import threading

import pytest

from harness import Cli, until
from proxy import DOWN

FAST = ("--heartbeat-interval", "500ms", "--poll-interval", "200ms")
MIB = 1 << 20


class Shelf:
    """A web server with one binary, which counts what it is asked for and can
    stop in the middle of the first answer, or not say how long one is."""

    def __init__(self, body, stop_at=None, sized=True):
        self.body, self.stop_at, self.sized = body, stop_at, sized
        self.sha256 = hashlib.sha256(body).hexdigest()
        self.requests, self.lock = [], threading.Lock()
        self.stopped, self.go_on = threading.Event(), threading.Event()
        shelf = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                with contextlib.suppress(OSError):
                    shelf.answer(self)

            def log_message(self, *args):
                pass

        self.server = http.server.ThreadingHTTPServer(
            ("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        self.url = f"http://127.0.0.1:{self.server.server_port}/tool"

    def answer(self, request):
        asked = request.headers.get("Range")
        with self.lock:
            self.requests.append(asked)
            first = len(self.requests) == 1
        start = int(asked[6:-1]) if asked else 0
        request.send_response(206 if asked else 200)
        if self.sized:
            request.send_header("Content-Length", str(len(self.body) - start))
        request.send_header("ETag", '"1"')
        if asked:
            request.send_header("Content-Range", f"bytes {start}-"
                                f"{len(self.body) - 1}/{len(self.body)}")
        request.end_headers()
        rest = memoryview(self.body)[start:]
        if first and self.stop_at:
            request.wfile.write(rest[:self.stop_at])
            request.wfile.flush()
            self.stopped.set()
            self.go_on.wait(60)
            rest = rest[self.stop_at:]
        request.wfile.write(rest)

    def close(self):
        self.go_on.set()
        self.server.shutdown()
        self.server.server_close()


def program(text, size):
    """Shell lines that end, and zeros up to that size."""
    return f"#!/bin/sh\n{text}\nexit 0\n".encode().ljust(size, b"\0")


@pytest.fixture
def shelf():
    made = []

    def make(*arguments, **more):
        made.append(Shelf(*arguments, **more))
        return made[-1]
    yield make
    for one in made:
        one.close()


def submit(api, shelf, count=1):
    jobs = [{"type": "t", "binary_url": shelf.url,
             "binary_sha256": shelf.sha256} for _ in range(count)]
    answer = api.post("/jobs/bulk", jobs)
    assert answer.status == 201, answer
    return [result["job_id"] for result in answer.json["results"]]


def must_print(api, ids, text):
    for job_id in ids:
        job = api.wait(job_id, 60)
        assert job["status"] == "completed" and job["stdout"] == text, job


def fetched(*executors):
    """Bytes of each download that ended well."""
    return [int(record["received"]) for executor in executors
            for record in executor.records()
            if record["msg"] == "fetched a binary"]


def objects(cache):
    return sorted(p for p in (cache / "objects").rglob("*") if p.is_file())


def test_t46_fifty_jobs_of_two_executors_one_download(
        sqlite_lab, shelf, tmp_path):
    lab = sqlite_lab
    one = shelf(program("echo well", 200 * MIB))
    api = lab.server().api
    both = [lab.executor(api.url, "--max-jobs", "25", *FAST,
                         cache=tmp_path / "cache") for _ in range(2)]
    must_print(api, submit(api, one, 50), "well\n")
    assert one.requests == [None]
    assert fetched(*both) == [200 * MIB]


def test_t46_fifty_jobs_for_a_binary_of_the_server(lab):
    api = lab.server().api
    path = lab.place / "tool"
    path.write_bytes(program("echo well", 200 * MIB))
    sha256 = api.upload(path)
    jobs = [{"type": "t", "binary_sha256": sha256}] * 50
    executor = lab.executor(api.url, "--max-jobs", "50", *FAST)
    answer = api.post("/jobs/bulk", jobs)
    must_print(api, [r["job_id"] for r in answer.json["results"]], "well\n")
    assert fetched(executor) == [200 * MIB]


def test_t45_file_flipped_in_the_cache_never_runs(lab, shelf):
    one = shelf(program("echo well", 5000))
    api = lab.server().api
    executor = lab.executor(api.url, "--max-jobs", "4", *FAST)
    for turn in range(1, 6):
        must_print(api, submit(api, one, 3), "well\n")
        assert len(one.requests) == turn
        path, = objects(executor.cache)
        assert path.stat().st_mode & 0o777 == 0o555
        path.chmod(0o755)
        with open(path, "r+b") as out:
            out.seek(path.read_bytes().index(b"well"))
            out.write(b"evil")
        path.chmod(0o555)
    assert executor.wait_for(
        "a cached binary was changed on disk and is fetched again")


def test_binary_larger_than_the_cache_runs(sqlite_lab, shelf):
    lab = sqlite_lab
    one = shelf(program("echo well", 3 * MIB))
    api = lab.server().api
    executor = lab.executor(api.url, "--max-cache-size", "1", *FAST)
    must_print(api, submit(api, one), "well\n")
    until(lambda: not objects(executor.cache), "what is too large was removed")


def test_t40_files_that_may_not_grow(sqlite_lab, shelf):
    """The executor lives on, and its programs find the signal as it was."""
    lab = sqlite_lab
    long = shelf(program("echo well", 3 * MIB), sized=False)
    short = shelf(program("exec head -c 3000000 /dev/zero >file", 5000))
    api = lab.server().api
    executor = lab.executor(api.url, *FAST)

    def let_files_grow_to(size):
        subprocess.run(["prlimit", "--pid", str(executor.pid),
                        f"--fsize={size}:"], check=True)
    let_files_grow_to(2 * MIB)
    job, = submit(api, long)
    # Once as a shortage of the machine, and then it is known to be too long.
    job = api.wait(job)
    assert job["outcome"] == "fetch_failed" and len(long.requests) == 2, job
    assert str(2 * MIB) in job["error_message"], job
    job = api.wait(submit(api, short)[0])
    assert "SIGXFSZ" in job["error_message"], job
    # Not even its log, which is a file here, may grow.
    let_files_grow_to(0)
    well = shelf(program("echo well", 6000))
    job, = submit(api, well)
    until(lambda: any(a["status"] == "released"
                      for a in api.job(job)["attempts"]), "it was given back")
    let_files_grow_to("unlimited")
    must_print(api, [job], "well\n")
    assert executor.stop() == 0


def test_cache_and_work_directory_on_two_volumes(sqlite_lab, shelf, tmp_path):
    other = pathlib.Path("/dev/shm")
    if not other.is_dir() or other.stat().st_dev == tmp_path.stat().st_dev:
        pytest.skip("two volumes are needed: /dev/shm is none of its own here")
    lab = sqlite_lab
    one = shelf(program("echo well", 5000))
    api = lab.server().api
    cache = pathlib.Path(tempfile.mkdtemp(prefix="executr-e2e.", dir=other))
    try:
        executor = lab.executor(api.url, *FAST, cache=cache / "cache")
        assert cache.stat().st_dev != executor.work.stat().st_dev
        must_print(api, submit(api, one, 2), "well\n")
        assert one.requests == [None]
        assert executor.stop() == 0
    finally:
        shutil.rmtree(cache)


def test_t47_kill_in_the_middle_of_a_download(lab, shelf, tmp_path):
    one = shelf(program("echo well", 8 * MIB), stop_at=5 * MIB)
    api = lab.server("--heartbeat-timeout", "1s").api
    cache = tmp_path / "cache"
    first = lab.executor(api.url, *FAST, cache=cache)
    job, = submit(api, one)
    assert one.stopped.wait(30)
    until(lambda: sum(p.stat().st_size for p in (cache / "tmp").iterdir())
          > 4 * MIB, "what came was written")
    first.kill()
    assert not objects(cache)
    second = lab.executor(api.url, *FAST, cache=cache)
    must_print(api, [job], "well\n")
    # It got the rest, and only that.
    assert one.requests[0] is None and len(one.requests) == 2
    start = int(one.requests[1].removeprefix("bytes=").removesuffix("-"))
    assert start > 4 * MIB and fetched(second) == [8 * MIB - start]
    assert [p.name for p in objects(cache)] == [one.sha256]
    assert not list((cache / "tmp").iterdir())


def test_t33_a_job_held_by_one_that_hears_nothing_comes_back(lab, shelf):
    """The server hears its heartbeats, and it gets no answer, nor the binary:
    it must not keep the job for as long as that lasts."""
    one = shelf(program("echo well", 1000), stop_at=500)
    server = lab.server("--heartbeat-timeout", "2s")
    proxy = lab.proxy(server)
    deaf = lab.executor(proxy.url, "--max-jobs", "1", *FAST)
    job_id, = submit(server.api, one)
    assert one.stopped.wait(30)
    proxy.cut(DOWN)
    other = lab.executor(server, *FAST)
    job = server.api.wait(job_id, 50)
    assert job["status"] == "completed" and job["stdout"] == "well\n", job
    assert job["executor_id"] == other.id and job["retry_count"] == 0, job
    given_back = [record for record in deaf.records()
                  if record["msg"] == "giving a job back"]
    assert [record["attempt"] for record in given_back][:1] == ["1"]
    proxy.heal(reset=True)


@pytest.fixture
def kept(sqlite_lab, shelf, tmp_path):
    """An executor with one binary that runs and one that does not."""
    lab = sqlite_lab
    api = lab.server().api
    executor = lab.executor(api.url, "--max-jobs", "4", *FAST)
    go = tmp_path / "go"
    idle = shelf(program("echo well", 5000))
    must_print(api, submit(api, idle), "well\n")
    started = tmp_path / "started"
    used = shelf(program(f"touch {started}\n"
                         f"until [ -e {go} ]; do sleep 0.05; done", 6000))
    job, = submit(api, used)
    until(started.exists, "it runs")
    cli = Cli(lab.place)
    cli.env["EXECUTR_CACHE_DIR"] = str(executor.cache)
    yield cli, executor, idle, used
    go.touch()
    assert api.wait(job)["status"] == "completed"


def listed(cli, *arguments):
    out, _ = cli("cache", *arguments, "--output", "json")
    return {item["sha256"]: item for item in json.loads(out)}


def test_cache_ls(kept):
    cli, executor, idle, used = kept
    found = listed(cli, "ls")
    assert {k: (v["bytes"], v["state"]) for k, v in found.items()} == {
        idle.sha256: (5000, "ready"), used.sha256: (6000, "ready")}
    assert found[used.sha256]["pinned"] and not found[idle.sha256]["pinned"]
    table, _ = cli("cache", "ls")
    assert f"{used.sha256} " in table and "ready, in use" in table
    assert "11000 bytes are kept" in table


def test_cache_prune_leaves_what_is_used(kept):
    cli, executor, idle, used = kept
    found = listed(cli, "prune", "--max-cache-size", "1")
    assert {v["state"] for v in found.values()} == {"ready"}
    found = listed(cli, "prune", "--max-cache-size", "0")
    assert found[idle.sha256]["state"] == "removed"
    assert found[used.sha256]["state"] == "ready"
    assert [p.name for p in objects(executor.cache)] == [used.sha256]


def test_t45_cache_verify_removes_what_was_altered(kept):
    cli, executor, idle, used = kept
    out, err = cli("cache", "verify")
    assert "bad" not in out and not err
    path, = [p for p in objects(executor.cache) if p.name == idle.sha256]
    path.chmod(0o755)
    path.write_bytes(path.read_bytes()[:-1] + b"\1")
    path.chmod(0o555)
    out, err = cli("cache", "verify", code=1)
    assert f"{idle.sha256} " in out and " bad" in out
    assert "1 of the binaries was not what the name says" in err
    assert not path.exists()
    assert "bad" not in cli("cache", "verify")[0]


def test_cache_command_tells_what_is_wrong(tmp_path):
    cli = Cli(tmp_path)
    assert "there is no cache in" in cli("cache", "ls", code=1)[1]
    assert not (tmp_path / ".executr").exists()
    assert "ls, verify and prune" in cli("cache", "empty", code=2)[1]
    assert "--max-cache-size" in cli(
        "cache", "prune", "--max-cache-size", "much", code=2)[1]
    assert "no arguments" in cli("cache", "ls", "x", code=2)[1]
    assert "verify" in cli("cache", "--help")[0]
