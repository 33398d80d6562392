# SPDX-License-Identifier: MIT
"""The Python binding as a client of a real server."""

import hashlib
import os
import pathlib
import re
import sys
import threading
import time

import pytest

import harness

LIBRARY = pathlib.Path(os.environ.get("EXECUTR_LIBRARY") or (
    pathlib.Path(os.environ.get("EXECUTR_LIB", harness.BIN.parent / "lib"))
    / "libexecutr.so"))
if any(name in LIBRARY.read_bytes() for name in (b"libasan", b"libtsan")):
    pytest.skip("a library built with sanitizers can't be loaded by a python "
                "that is not", allow_module_level=True)
os.environ["EXECUTR_LIBRARY"] = str(LIBRARY)
sys.path.insert(0, str(harness.ROOT / "bindings" / "python"))

import executr  # noqa: E402

FAST = ("--heartbeat-interval", "500ms", "--poll-interval", "200ms")


@pytest.fixture(scope="module")
def system(tmp_path_factory):
    from conftest import Lab, open_store
    place = tmp_path_factory.mktemp("python")
    lab = Lab(place, open_store("sqlite", place))
    lab.main = lab.server()
    lab.worker = lab.executor(
        lab.main, "--max-jobs", "2", "--priorities", "foreground,background",
        *FAST)
    yield lab
    lab.end()


@pytest.fixture
def client(system):
    with executr.Client(system.main.url) as client:
        yield client


def test_the_example_of_the_readme_works_as_it_is_written(system, capfd):
    readme = (harness.ROOT / "README.md").read_text()
    example = re.search(r"```python\n(.*?)```", readme, re.S).group(1)
    assert "http://127.0.0.1:8080" in example
    exec(example.replace("http://127.0.0.1:8080", system.main.url), {})
    with open("/etc/hostname", "rb") as file:
        digest = hashlib.sha256(file.read()).hexdigest()
    assert capfd.readouterr().out == f"{digest}  /etc/hostname\n 0\n"


def test_run(client, system):
    path = system.script('printf "$1\\0$K"; echo oops >&2; exit 4')
    job = client.run(path, arguments=["a"], environment={"K": "v"},
                     type="py", priority="foreground")
    assert (job.stdout, job.stderr, job.exit_code) == (b"a\0v", b"oops\n", 4)
    assert (job.status, job.outcome, job.type) == ("failed", "exit", "py")
    assert job.executor_id == system.worker.id
    assert [a.status for a in job.attempts] == ["failed"]
    assert client.logs(job.id) == b"a\0v"
    assert client.logs(job.id, "stderr", offset=2) == b"ps\n"
    pieces = []
    client.logs(job.id, follow=True, write=pieces.append)
    assert b"".join(pieces) == b"a\0v"


def test_wait_has_a_timeout_and_cancel_an_effect(client, system):
    path = system.script("exec sleep 100")
    job = client.submit(path, environment={"PATH": "/usr/bin:/bin"})
    with pytest.raises(executr.TimedOut):
        client.wait(job.id, timeout=0.2)
    assert client.cancel(job.id) == "running"
    assert client.wait(job.id, timeout=30).status == "cancelled"
    again = client.retry(job.id)
    assert again.status == "pending" and again.id == job.id
    assert client.cancel(job.id) in ("cancelled", "running")
    with pytest.raises(executr.NotFound):
        client.get("0192f0c1-7a7e-7cc3-98c4-dc0c0c07398f")


def test_lists_stats_and_executors(client, system):
    spec = executr.JobSpec(
        "ab" * 32, "http://127.0.0.1:1/x", type="listed",
        priority="best_effort")
    bad = executr.JobSpec("ab" * 32, "ftp://x", type="listed")
    one, refused, two = client.submit_many([spec, bad, spec])
    assert isinstance(refused, executr.ArgumentError)
    assert refused.field == "binary_url"
    found = [job.id for job in client.jobs(type="listed", limit=1)]
    assert found == [two.id, one.id]
    page = client.list(type="listed", limit=1)
    assert page.more and len(page) == 1
    assert client.stats()["jobs_by_status"]["pending"] == 2
    assert system.worker.id in [
        e["executor_id"] for e in client.executors()]
    assert client.cancel_matching(type="listed") == 2


def test_an_executor_in_python(client):
    spec = executr.JobSpec(
        "ab" * 32, "http://127.0.0.1:1/x", type="mine", memory_mb=9,
        priority="best_effort")
    job = client.submit_spec(spec)
    claimed, = client.claim("py-1", "127.0.0.1", types=["mine"], offers=2)
    assert claimed.id == job.id
    assert client.heartbeat(
        "py-1", "127.0.0.1", [(job.id, claimed.attempt)]) == {job.id: "kept"}
    output = bytes(range(256))
    assert client.report("py-1", [executr.Report(
        job.id, claimed.attempt, exit_code=0, stdout=output)]) == [None]
    client.goodbye("py-1")
    done = client.get(job.id)
    assert (done.status, done.stdout) == ("completed", output)


def test_binaries(client, tmp_path):
    path = tmp_path / "data"
    path.write_bytes(os.urandom(2_000_000))
    seen = []
    sha256 = client.upload(path, progress=lambda *now: seen.append(now))
    assert client.upload(path) == sha256
    assert client.binary_size(sha256) == 2_000_000
    assert client.binary_size("0" * 64) is None
    got = bytearray()
    client.download(sha256, got.extend)
    assert bytes(got) == path.read_bytes()
    other = tmp_path / "other"
    other.write_bytes(os.urandom(2_000_000))

    def fail(_done, _total):
        raise KeyError("mine")
    with pytest.raises(KeyError):
        client.upload(other, progress=fail)
    with pytest.raises(executr.NotFound):
        client.download("0" * 64, got.extend)


def test_a_url_is_hashed_while_streaming(client, system):
    path = system.script("echo from a URL")
    sha256 = client.upload(path)
    url = f"{system.main.url}/api/v1/binaries/{sha256}"
    assert executr.hash_url(url) == sha256 == executr.hash_file(path)
    job = client.run(binary_url=url)
    assert job.stdout == b"from a URL\n" and job.binary_sha256 == sha256


def test_threads_share_a_client(client, system):
    path = system.script('echo "$1"')
    client.upload(path)
    outputs = {}

    def work(i):
        outputs[i] = client.run(path, arguments=[str(i)]).stdout
    threads = [threading.Thread(target=work, args=(i,)) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert outputs == {i: b"%d\n" % i for i in range(8)}


def test_waiting_outlasts_a_restart(lab):
    server = lab.server()
    lab.executor(server, *FAST)
    gate = lab.place / "gate"
    path = lab.script(f"until [ -e {gate} ]; do sleep 0.05; done; echo end")
    with executr.Client(server.url) as client:
        job = client.submit(path, environment={"PATH": "/usr/bin:/bin"})
        done = []
        thread = threading.Thread(
            target=lambda: done.append(client.wait(job.id)))
        thread.start()
        server.api.wait_status(job.id, "running")
        time.sleep(0.2)
        server.kill()
        lab.restart(server)
        gate.touch()
        thread.join(60)
    assert done and done[0].stdout == b"end\n"


def test_a_token(sqlite_lab):
    secret = os.urandom(8).hex()
    server = sqlite_lab.server(env=harness.environment(
        sqlite_lab.place, EXECUTR_TOKEN=secret))
    with executr.Client(server.url, token=secret) as client:
        assert client.list() == []
    with executr.Client(server.url, token="wrong") as client:
        with pytest.raises(executr.Unauthorized):
            client.list()


def test_a_worker_in_python_for_a_server(sqlite_lab):
    server = sqlite_lab.server()
    with executr.Client(server.url) as client, executr.Worker(
            server_url=server.url, name="py",
            cache_directory=sqlite_lab.place / "c",
            work_directory=sqlite_lab.place / "w") as worker:
        worker.start()
        job = client.run("/bin/echo", arguments=["hi"])
        assert job.stdout == b"hi\n" and job.executor_id.startswith("py-")


def test_t60_follow_gives_what_a_job_prints_as_it_does(client, system):
    gate = system.place / "follow-gate"
    path = system.script(
        f"echo one; until [ -e {gate} ]; do sleep 0.02; done; "
        "echo two; echo bad >&2")
    job = client.submit(path, environment={"PATH": "/usr/bin:/bin"})
    seen = b""
    for piece in client.follow(job.id, "stdout"):
        seen += piece
        if seen == b"one\n":
            assert client.get(job.id).status == "running"
            gate.touch()
    assert seen == b"one\ntwo\n"
    assert list(client.follow(job.id, "stdout", offset=4)) == [b"two\n"]
    both = list(client.follow(job.id))
    assert ("stderr", b"bad\n") in both


def test_follow_can_be_left(client, system):
    path = system.script("echo one; exec sleep 100")
    job = client.submit(path, environment={"PATH": "/usr/bin:/bin"})
    for piece in client.follow(job.id, "stdout"):
        assert piece == b"one\n"
        break
    client.cancel(job.id)
    assert client.wait(job.id, timeout=30).status == "cancelled"
    with pytest.raises(ValueError):
        next(client.follow(job.id, "stdin"))
    with pytest.raises(executr.NotFound):
        next(client.follow("0192f0c1-7a7e-7cc3-98c4-dc0c0c07398f"))
