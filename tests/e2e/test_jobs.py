# SPDX-License-Identifier: MIT
"""What a program sees while it runs, and what becomes of its output."""

import json
import os
import time

import pytest

import harness

FAST = ("--heartbeat-interval", "500ms", "--poll-interval", "200ms")
HEADROOM = 4096  # the line that says how much was cut, and then some


@pytest.fixture(scope="module")
def system(tmp_path_factory):
    """The executor's environment must not reach its jobs."""
    from conftest import Lab, open_store
    place = tmp_path_factory.mktemp("jobs")
    lab = Lab(place, open_store("sqlite", place))
    lab.main = lab.server("--max-output-size", "65536")
    lab.worker = lab.executor(
        lab.main, "--max-jobs", "4", "--max-output-size", "65536", *FAST,
        env=harness.environment(place, LEAK="secret", TERM="x", FOO="bar"))
    yield lab
    lab.end()


@pytest.fixture
def run(system):
    """Run shell lines as a job; its record, and its exact stdout."""
    def run(text, **fields):
        api = system.main.api
        sha256 = api.upload(system.script(text))
        body = {"type": "t", "binary_sha256": sha256, **fields}
        body["env_variables"] = {
            "PATH": "/usr/bin:/bin", **fields.get("env_variables", {})}
        answer = api.post("/jobs", body)
        assert answer.status == 201, answer
        job = api.wait(answer.json["id"])
        return job, api.get(f"/jobs/{job['id']}/stdout").body
    return run


def test_t50_exactly_the_environment_that_was_given(run):
    value = "a b\n=ü$(no)"
    job, out = run("cat /proc/self/environ", env_variables={
        "K": value, "EMPTY": ""})
    pairs = dict(pair.split("=", 1)
                 for pair in out.decode().split("\0") if pair)
    pairs.pop("PWD", None)  # what /bin/sh adds by itself
    pairs.pop("OLDPWD", None)
    assert pairs == {"PATH": "/usr/bin:/bin", "K": value, "EMPTY": ""}
    assert job["status"] == "completed"


def test_t72_odd_names_of_variables_pass_and_impossible_ones_do_not(system):
    """All that the kernel can pass is passed, and nothing else: a name that is
    empty or holds '=' would be read as another one."""
    api = system.main.api
    odd = {"a b": "1", "1": "2", "\u00fc": "3", "LD_PRELOAD": "/none",
           "EXECUTR_TOKEN": "mine", "x\ty": "4", "lower": "", "V": "=a=b="}
    spec = {"type": "t", "binary_sha256": api.upload(harness.JOBS / "job"),
            "arguments": ["environment"]}
    answer = api.post("/jobs", {**spec, "env_variables": odd})
    assert answer.status == 201, answer
    job = api.wait(answer.json["id"])
    assert job["env_variables"] == odd
    assert sorted(job["stdout"].splitlines()) == sorted(
        f"{name}={value}" for name, value in odd.items())
    for name in ("", "=", "=x", "a=b", "a=", "nul\0"):
        answer = api.post("/jobs", {**spec, "env_variables": {name: "v"}})
        assert answer.status == 400, (name, answer)
    # Twice the same name: JSON lets it through, we don't.
    body = json.dumps({**spec, "env_variables": {"A": "1", "B": "2"}})
    answer = api.post("/jobs", body.replace('"B"', '"A"').encode())
    assert answer.status == 400, answer


def test_the_arguments_reach_it_unchanged(run):
    given = ["", "a b", "*", "'\"", "ü\n", "--", "-x", "$HOME"]
    _, out = run('for a in "$@"; do printf "%s\\0" "$a"; done',
                 arguments=given)
    assert out.decode().split("\0")[:-1] == given


def test_t75_a_fresh_directory_that_is_gone_afterwards(run, system):
    text = "ls -A; pwd; mkdir -p a/b; touch a/b/c; chmod 0 a/b/c; chmod 500 a"
    _, first = run(text)
    _, second = run(text)
    places = [out.decode().strip() for out in (first, second)]
    assert places[0] != places[1] and "\n" not in places[0]
    for place in places:
        assert place.startswith(str(system.worker.work))
        harness.until(lambda: not os.path.exists(place), "removed")


def test_t49_only_three_descriptors_and_no_terminal(run):
    _, out = run("readlink /proc/self/fd/0; ls /proc/self/fd; cat; "
                 "cut -d' ' -f7 /proc/self/stat")
    lines = out.decode().split()
    assert lines[0] == "/dev/null"
    assert set(lines[1:-1]) <= {"0", "1", "2", "3"} and lines[-1] == "0"


def test_t50_signals_are_as_a_program_expects_them(run):
    _, out = run("grep -E '^Sig(Blk|Ign)' /proc/self/status")
    for line in out.decode().splitlines():
        assert int(line.split()[1], 16) == 0, line


@pytest.mark.parametrize("code", [0, 1, 2, 126, 127, 200, 255])
def test_t70_exit_codes(run, code):
    job, _ = run(f"exit {code}")
    assert job["exit_code"] == code and job["outcome"] == "exit"
    assert job["status"] == ("failed" if code else "completed")


@pytest.mark.parametrize("number", [6, 9, 11, 15])
def test_t70_deaths_by_signal(run, number):
    job, _ = run(f"kill -{number} $$")
    assert job["outcome"] == "signal" and job["signal"] == number
    assert "exit_code" not in job and job["error_message"]


def test_t62_any_bytes_come_back(run):
    job, out = run("printf 'nul \\0 bad \\377\\376 cut \\303'; printf 'x' >&2")
    assert out == b"nul \0 bad \xff\xfe cut \xc3"
    assert "\0" in job["stdout"] and "\ufffd" in job["stdout"]
    assert job["stderr"] == "x"
    # Half of a surrogate pair, and a terminal's language.
    job, out = run("printf '\\355\\240\\200 \\033[31m'")
    assert out == b"\xed\xa0\x80 \x1b[31m"
    assert "\ufffd" in job["stdout"] and job["stdout"].endswith(" \x1b[31m")


def test_t60_long_output_keeps_head_and_tail(run):
    job, out = run("seq 1 200000")
    assert job["status"] == "completed"
    assert len(out) <= 65536 + HEADROOM
    lines = out.decode().splitlines()
    assert lines[:500] == [str(i) for i in range(1, 501)]
    assert lines[-1] == "200000"
    tail = lines[501:]
    assert tail == [str(i) for i in range(200001 - len(tail), 200001)]
    total = sum(len(str(i)) + 1 for i in range(1, 200001))
    kept = sum(len(line) + 1 for line in lines[:500] + tail)
    assert str(total - kept) in lines[500]
    assert str(200000 - 500 - len(tail)) in lines[500]


def test_t61_one_endless_line_is_cut_between_characters(run):
    job, out = run("head -c 300000 /dev/zero | sed 's/\\x0/ü/g'")
    assert job["status"] == "completed"
    assert len(out) <= 65536 + HEADROOM
    assert out.decode()  # strict: no character was split
    assert out.startswith("üü".encode()) and out.endswith("üü".encode())


def test_t60_much_output_does_not_grow_the_executor(run, system):
    def memory():
        with open(f"/proc/{system.worker.pid}/status") as status:
            return next(int(line.split()[1]) for line in status
                        if line.startswith("VmHWM"))
    run("echo warm")
    before = memory()
    job, out = run("head -c 300000000 /dev/zero; echo end >&2")
    assert job["status"] == "completed" and job["stderr"] == "end\n"
    assert len(out) <= 65536 + HEADROOM
    assert memory() - before < 32768


def skip_without(system, level):
    if system.worker.lacks(level):
        pytest.skip(f"not to be had here: {system.worker.lacks(level)}")


LEVELS = ["none", "basic", "standard", "strict"]


@pytest.mark.parametrize("level", LEVELS)
def test_t64_a_grandchild_that_keeps_the_output_open_dies(run, system, level):
    skip_without(system, level)
    started = time.monotonic()
    seconds = f"333{LEVELS.index(level)}"
    job, out = run(f"setsid sleep {seconds} & echo started", isolation=level)
    assert job["status"] == "completed" and out == b"started\n"
    assert time.monotonic() - started < 30
    harness.until(lambda: not alive("sleep", seconds), "it was killed")


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("keeps", [True, False])
def test_t65_a_daemon_dies_with_its_job(run, system, level, keeps):
    """Forked twice, in a session of its own, with and without our stdout."""
    skip_without(system, level)
    seconds = f"44{LEVELS.index(level)}{int(keeps)}"
    closed = "" if keeps else ">/dev/null 2>&1 </dev/null"
    job, _ = run(f"(setsid sh -c 'sleep {seconds} {closed} &' &)\n"
                 "sleep 0.2", isolation=level)
    assert job["status"] == "completed"
    harness.until(lambda: not alive("sleep", seconds), "it was killed")


def alive(*words):
    """Is there a process with this very command line?"""
    wanted = b"".join(word.encode() + b"\0" for word in words)
    for pid in harness.parents():
        try:
            with open(f"/proc/{pid}/cmdline", "rb") as line:
                if line.read() == wanted:
                    return True
        except OSError:
            continue
    return False


def test_a_changed_binary_never_runs(system):
    api = system.main.api
    path = system.script("echo good")
    sha256 = api.upload(path)
    first = api.post("/jobs", {"type": "t", "binary_sha256": sha256}).json
    assert api.wait(first["id"])["stdout"] == "good\n"
    cached, = [p for p in (system.worker.cache / "objects").rglob("*")
               if p.is_file() and p.name == sha256]
    cached.chmod(0o755)
    cached.write_text("#!/bin/sh\necho evil\n")
    cached.chmod(0o555)
    again = api.post("/jobs", {"type": "t", "binary_sha256": sha256}).json
    done = api.wait(again["id"])
    assert done["status"] == "completed" and done["stdout"] == "good\n"


def test_what_can_not_be_fetched_fails_with_words(system):
    api = system.main.api
    job = api.submit(binary_url="http://127.0.0.1:1/none")
    done = api.wait(job["id"], 120)
    assert done["status"] == "failed" and done["outcome"] == "fetch_failed"
    assert "127.0.0.1" in done["error_message"]


def test_t79_many_jobs_leave_nothing_behind(system):
    api = system.main.api
    sha256 = api.upload(system.script('printf "%s" "$1"'))
    descriptors = system.worker.descriptors()
    answer = api.post("/jobs/bulk", [
        {"type": "many", "binary_sha256": sha256, "arguments": [str(i)]}
        for i in range(300)])
    assert answer.json["successful"] == 300
    harness.until(lambda: len(api.get(
        "/jobs?type=many&status=completed&limit=1000").json) == 300,
        "all were completed", 120)
    outputs = {api.job(r["id"])["stdout"] for r in answer.json["results"][::9]}
    assert outputs == {str(i) for i in range(0, 300, 9)}
    harness.until(lambda: not system.worker.children(), "no child is left")
    assert not list(system.worker.work.glob("*/*"))
    harness.until(
        lambda: system.worker.descriptors() <= descriptors + 2, "no leak")
