# SPDX-License-Identifier: MIT
"""What a job prints, seen while it does: no byte twice, none lost, and nobody
waits for a reader."""

import http.client
import pathlib
import re
import signal
import subprocess

import pytest

import harness
from rounds import number

FAST = ("--heartbeat-interval", "300ms", "--poll-interval", "200ms")
PATH = {"PATH": "/usr/bin:/bin"}


class Gates:
    """Files that a job waits for, so that it goes no further than it may."""

    def __init__(self, lab):
        self.place = lab.place

    def wait(self, name):
        return f"until [ -e {self.place}/{name} ]; do sleep 0.02; done"

    def open(self, name):
        (self.place / name).touch()


@pytest.fixture
def gates(lab):
    return Gates(lab)


def submit(lab, server, text, **fields):
    """Submit shell lines; the id."""
    sha256 = server.api.upload(lab.script(text))
    answer = server.api.post("/jobs", {
        "type": "live", "binary_sha256": sha256, "env_variables": PATH,
        **fields})
    assert answer.status == 201, answer
    return answer.json["id"]


class Follower:
    """A followed stream over HTTP, read as it comes."""

    def __init__(self, server, job_id, stream="stdout", offset=0):
        self.connection = http.client.HTTPConnection(
            server.api.host, server.api.port, timeout=harness.PATIENCE)
        self.connection.request(
            "GET", f"/api/v1/jobs/{job_id}/{stream}?follow=1&offset={offset}")
        self.answer = self.connection.getresponse()
        assert self.answer.status == 200
        self.seen = b""

    def until(self, text):
        """Read until what came ends with this."""
        while not self.seen.endswith(text):
            piece = self.answer.read1(65536)
            assert piece, f"ended behind {self.seen[-200:]!r}"
            self.seen += piece
        return self.seen

    def rest(self):
        self.seen += self.answer.read()
        return self.seen

    def close(self):
        self.connection.close()


def test_t60_output_is_seen_while_the_job_runs_and_resumes(lab, gates):
    server = lab.server()
    lab.executor(server, *FAST)
    job = submit(lab, server, f"""echo one; echo bad >&2
        {gates.wait('a')}; echo two; {gates.wait('b')}; echo three; exit 3""")
    first = Follower(server, job)
    errors = Follower(server, job, "stderr")
    assert first.until(b"one\n") == b"one\n"
    assert errors.until(b"bad\n") == b"bad\n"
    gates.open("a")
    assert first.until(b"two\n") == b"one\ntwo\n"
    first.close()
    second = Follower(server, job, offset=2)
    assert second.until(b"two\n") == b"e\ntwo\n"
    assert server.api.job(job)["status"] == "running"
    gates.open("b")
    assert second.rest() == b"e\ntwo\nthree\n"
    assert errors.rest() == b"bad\n"
    done = server.api.job(job)
    assert done["stdout"] == "one\ntwo\nthree\n" and done["exit_code"] == 3
    assert Follower(server, job, offset=4).rest() == b"two\nthree\n"


def test_two_servers_on_one_database(postgres_lab):
    lab = postgres_lab
    gates = Gates(lab)
    near, far = lab.server(), lab.server()
    lab.executor(near, *FAST)
    job = submit(lab, near, f"echo one; {gates.wait('a')}; echo two")
    reader = Follower(far, job)
    assert reader.until(b"one\n") == b"one\n"
    gates.open("a")
    assert reader.rest() == b"one\ntwo\n"


def read_until(pipe, text):
    """Read a pipe of a process until what came ends with this."""
    seen = b""
    while not seen.endswith(text):
        piece = pipe.read1(65536)
        assert piece, f"ended behind {seen!r}"
        seen += piece
    return seen


def check_run(process, gates):
    assert read_until(process.stdout, b"one\n") == b"one\n"
    assert read_until(process.stderr, b"bad\n") == b"bad\n"
    gates.open("a")
    out, err = process.communicate(timeout=harness.PATIENCE)
    assert out == b"two\n" and process.returncode == 7
    assert b"exited with code 7" in err


def printing(gates):
    return f"echo one; echo bad >&2; {gates.wait('a')}; echo two; exit 7"


def test_run_shows_output_live(lab, gates):
    server = lab.server()
    lab.executor(server, *FAST)
    program = lab.script(printing(gates))
    check_run(lab.cli(server).start(
        "run", program, "--env", "PATH=/usr/bin:/bin"), gates)


def test_run_local_shows_output_live(sqlite_lab):
    gates = Gates(sqlite_lab)
    program = sqlite_lab.script(printing(gates))
    check_run(sqlite_lab.cli().start(
        "run", "--local", "--cache-dir", sqlite_lab.place / "cache",
        "--work-dir", sqlite_lab.place / "work", program,
        "--env", "PATH=/usr/bin:/bin"), gates)


def test_logs_go_on_after_the_server_was_away(lab, gates):
    server = lab.server()
    lab.executor(server, *FAST)
    job = submit(lab, server, f"""echo one; {gates.wait('a')}
        echo two; {gates.wait('b')}; echo three""")
    logs = lab.cli(server).start("logs", "--follow", job)
    assert read_until(logs.stdout, b"one\n") == b"one\n"
    server.kill()
    gates.open("a")
    lab.restart(server)
    assert read_until(logs.stdout, b"two\n") == b"two\n"
    gates.open("b")
    out, err = logs.communicate(timeout=harness.PATIENCE)
    assert (out, err, logs.returncode) == (b"three\n", b"", 0)


def test_logs_of_one_stream(sqlite_lab):
    lab = sqlite_lab
    server = lab.server()
    lab.executor(server, *FAST)
    job = submit(lab, server, "echo out; echo err >&2")
    cli = lab.cli(server)
    assert cli("logs", "-f", job) == ("out\n", "err\n")
    assert cli("logs", "-f", "--stream", "stderr", job) == ("", "err\n")
    assert cli("logs", "--stream", "stdout", job) == ("out\n", "")


def test_a_killed_executor_and_the_next_attempt(lab, gates):
    server = lab.server("--heartbeat-timeout", "1s")
    executor = lab.executor(server, *FAST)
    job = submit(lab, server, f"echo one; {gates.wait('a')}; echo two")
    logs = lab.cli(server).start("logs", "--follow", job)
    assert read_until(logs.stdout, b"one\n") == b"one\n"
    executor.kill()
    lab.executor(server, *FAST)
    assert read_until(logs.stdout, b"one\n") == b"one\n"
    gates.open("a")
    out, err = logs.communicate(timeout=harness.PATIENCE)
    assert (out, logs.returncode) == (b"two\n", 0)
    assert err == b"executr: attempt 2 begins\n"


def test_retries_are_followed(sqlite_lab):
    lab = sqlite_lab
    server = lab.server()
    lab.executor(server, *FAST)
    mark = lab.place / "mark"
    job = submit(lab, server, f"""if [ -e {mark} ]; then echo second
        else touch {mark}; echo first; exit 1; fi""", max_retries=1)
    assert Follower(server, job).rest() == b"first\nsecond\n"
    assert server.api.job(job)["stdout"] == "second\n"


def test_a_job_that_is_cancelled_while_it_is_followed(sqlite_lab):
    lab = sqlite_lab
    gates = Gates(lab)
    server = lab.server()
    lab.executor(server, *FAST)
    program = lab.script(f"echo one; {gates.wait('never')}")
    run = lab.cli(server).start("run", program, "--env", "PATH=/usr/bin:/bin")
    assert read_until(run.stdout, b"one\n") == b"one\n"
    run.send_signal(signal.SIGINT)
    out, err = run.communicate(timeout=harness.PATIENCE)
    assert out == b"" and run.returncode != 0
    assert b"cancelling" in err and b"cancelled" in err


def test_t62_any_bytes_are_told_as_they_are(lab, gates):
    server = lab.server()
    lab.executor(server, *FAST)
    told = b"a\0b\xff\xed\xa0\x80\x1b[1m"
    job = submit(lab, server, r"printf 'a\000b\377\355\240\200\033[1m';"
                 + gates.wait("a"))
    reader = Follower(server, job)
    assert reader.until(b"[1m") == told
    gates.open("a")
    assert reader.rest() == told


def test_t63_a_closed_stdout_is_not_the_end(sqlite_lab):
    lab = sqlite_lab
    gates = Gates(lab)
    server = lab.server()
    lab.executor(server, *FAST)
    job = submit(lab, server, f"""echo out; exec >&-
        {gates.wait('a')}; echo err >&2""")
    reader, errors = Follower(server, job), Follower(server, job, "stderr")
    reader.until(b"out\n")
    gates.open("a")
    assert errors.rest() == b"err\n"
    assert reader.rest() == b"out\n"


def test_t61_one_long_line(sqlite_lab):
    lab = sqlite_lab
    server = lab.server()
    lab.executor(server, *FAST)
    job = submit(lab, server, "head -c 30000000 /dev/zero | tr '\\0' x")
    seen = Follower(server, job).rest()
    assert set(re.sub(rb"\n?\[\.\.\. .*? \.\.\.\]\n", b"", seen)) == {ord("x")}
    assert b" ...]\n" in seen and len(seen) < 20_000_000


def peak_kb(program):
    status = pathlib.Path(f"/proc/{program.pid}/status").read_text()
    return int(re.search(r"VmHWM:\s+(\d+)", status).group(1))


def count(pipe):
    """How many bytes come, and the last of them."""
    total, last = 0, b""
    while piece := pipe.read1(1 << 20):
        total, last = total + len(piece), (last + piece)[-100:]
    return total, last


def test_t60_memory_stays_flat_and_the_job_is_not_held_up(lab, gates):
    """One reader that reads and one that does not; EXECUTR_TEST_OUTPUT says
    how many bytes there are to be."""
    size = number("EXECUTR_TEST_OUTPUT", 300_000_000)
    server = lab.server()
    executor = lab.executor(server, *FAST)
    job = submit(lab, server, f"""echo first; {gates.wait('a')}
        yes 0123456789abcdef | head -c {size}; echo; echo last""")
    reading = lab.cli(server).start("logs", "--follow", job)
    sleeping = Follower(server, job)
    assert read_until(reading.stdout, b"first\n") == b"first\n"
    sleeping.until(b"first\n")
    before = peak_kb(server), peak_kb(executor)
    gates.open("a")
    total, last = count(reading.stdout)
    assert reading.wait(harness.PATIENCE) == 0
    assert last.endswith(b"\nlast\n") and total < 100_000_000
    after = peak_kb(server), peak_kb(executor)
    grown = [b - a for a, b in zip(before, after)]
    assert max(grown) < 40_000, (before, after)
    done = server.api.wait(job, 30 + size / 10_000_000)
    assert len(done["stdout"]) <= 1 << 20 and "lines cut ...]" in done["stdout"]
    sleeping.close()


def test_hot_tables_never_see_it(postgres_lab):
    lab = postgres_lab
    gates = Gates(lab)
    server = lab.server()
    lab.executor(server, *FAST)
    job = submit(lab, server, f"echo one; {gates.wait('a')}")
    logs = lab.cli(server).start("logs", "-f", job)
    read_until(logs.stdout, b"one\n")
    rows = lab.store.query("SELECT count(*) FROM live_output")
    assert rows == [["1"]]
    assert lab.store.query("SELECT count(*) FROM job_attempts") == [["0"]]
    logs.send_signal(signal.SIGKILL)
    logs.communicate()
    harness.until(
        lambda: lab.store.query("SELECT (SELECT count(*) FROM live_output)"
                                " + (SELECT count(*) FROM live_follows)")
        == [["0"]], "what nobody follows is gone")
    gates.open("a")
    assert server.api.wait(job)["stdout"] == "one\n"


def test_logs_into_a_pipe_that_closes(sqlite_lab):
    """logs -f into head: it ends, and so does its interest."""
    lab = sqlite_lab
    gates = Gates(lab)
    server = lab.server()
    lab.executor(server, *FAST)
    job = submit(lab, server, f"""echo one; {gates.wait('a')}
        echo two; {gates.wait('b')}; echo three; {gates.wait('c')}""")
    logs = lab.cli(server).start("logs", "-f", job)
    head = subprocess.Popen(
        ["head", "-n", "1"], stdin=logs.stdout, stdout=subprocess.PIPE)
    logs.stdout.close()
    assert head.communicate()[0] == b"one\n"
    gates.open("a")
    gates.open("b")
    assert logs.wait(harness.PATIENCE) != 0
    logs.stderr.close()
    gates.open("c")
    assert server.api.wait(job)["stdout"] == "one\ntwo\nthree\n"
