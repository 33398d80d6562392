# SPDX-License-Identifier: MIT
"""Limits through the whole system: asked for by HTTP, told in the record."""

import os
import pathlib
import shutil
import tempfile

import pytest

import harness

FAST = ("--heartbeat-interval", "500ms", "--poll-interval", "200ms")
FILL = "dd if=/dev/zero of=big bs=1M count=3"
BURN = "while :; do :; done"


@pytest.fixture(scope="module")
def system(tmp_path_factory):
    from conftest import Lab, open_store
    place = tmp_path_factory.mktemp("limits")
    lab = Lab(place, open_store("sqlite", place))
    lab.main = lab.server()
    lab.worker = lab.executor(lab.main, "--max-jobs", "4", *FAST)
    yield lab
    lab.end()


@pytest.fixture
def run(system):
    def run(text, **fields):
        api = system.main.api
        sha256 = api.upload(system.script(text))
        answer = api.post("/jobs", {
            "type": "t", "binary_sha256": sha256,
            "env_variables": {"PATH": "/usr/bin:/bin"}, **fields})
        assert answer.status == 201, answer
        return api.wait(answer.json["id"])
    return run


@pytest.mark.parametrize("text, limit, outcome, word", [
    (BURN, {"cpu_seconds": 1}, "limit", "cpu_seconds"),
    ("exec " + FILL, {"max_file_mb": 1}, "limit", "max_file_mb"),
    (BURN, {"timeout": "300ms"}, "timeout", "timeout 300ms")])
def test_t74_the_end_tells_which_limit(run, text, limit, outcome, word):
    job = run(text, **limit)
    assert job["status"] == "failed" and job["outcome"] == outcome, job
    assert word in job["error_message"]


def test_t80_what_is_enforced_is_said_at_start(system):
    said = [record.get("ability", "") for record in system.worker.records()]
    for what in ("end of a program: its session", "memory_mb: ",
                 "cpu_seconds: ", "max_processes: ", "max_file_mb: "):
        assert any(line.startswith(what) for line in said), said


@pytest.fixture
def place():
    """A directory that any user can get at, as a test's own is not."""
    made = pathlib.Path(tempfile.mkdtemp(prefix="executr-limits."))
    made.chmod(0o777)
    yield made
    shutil.rmtree(made)


def test_t80_a_job_waits_for_an_executor_that_can_enforce_it(
        sqlite_lab, place):
    """Of nobody's executor, who may write no control group, hard limits can
    not be had: it runs other jobs, and never one that demands them."""
    lab = sqlite_lab
    if os.geteuid() != 0:
        pytest.skip("this needs root, to be root and somebody else in turn")
    api = lab.server().api
    weak = lab.executor(api.url, *FAST, base=place / "weak", user="nobody",
                        env=harness.environment(place))
    if not weak.lacks("strict"):
        pytest.skip("any user may write control groups here")
    sha256 = api.upload(harness.JOBS / "job")
    spec = {"type": "t", "binary_sha256": sha256, "arguments": ["exit", "0"]}
    hard = api.post("/jobs", {**spec, "isolation": "strict"}).json["id"]
    for _ in range(3):
        easy = api.post("/jobs", spec).json["id"]
        assert api.wait(easy)["executor_id"] == weak.id
    assert api.job(hard)["status"] == "pending"
    assert not api.job(hard)["attempts"]
    strong = lab.executor(api.url, *FAST)
    if strong.lacks("strict"):
        pytest.skip(f"root can't enforce it here: {strong.lacks('strict')}")
    done = api.wait(hard)
    assert done["status"] == "completed" and done["executor_id"] == strong.id


def test_t73_programs_run_as_the_user_that_root_names(sqlite_lab, place):
    lab = sqlite_lab
    if os.geteuid() != 0:
        pytest.skip("only root runs programs as somebody else")
    api = lab.server().api
    worker = lab.executor(
        api.url, *FAST, "--run-as", "nobody", base=place / "base")
    sha256 = api.upload(lab.script("id -u; touch mine; ls -l mine >&2"))
    job = api.post("/jobs", {
        "type": "t", "binary_sha256": sha256,
        "env_variables": {"PATH": "/usr/bin:/bin"}}).json["id"]
    done = api.wait(job)
    assert done["status"] == "completed", done
    assert done["stdout"] == "65534\n" and "nobody" in done["stderr"]
    assert worker.stop() == 0


def test_t69_too_much_memory_is_oom(run, system):
    said = [record.get("ability", "") for record in system.worker.records()]
    if not any(line.startswith("memory_mb: by control group")
               for line in said):
        pytest.skip("no writable control group for memory here")
    job = run("exec dd if=/dev/zero of=/dev/null bs=256M count=1",
              memory_mb=32)
    assert job["status"] == "failed" and job["outcome"] == "oom", job
    assert "memory_mb 32" in job["error_message"]


def may_lower_its_score():
    """Root may on most machines, but not in every container."""
    own = pathlib.Path("/proc/self/oom_score_adj")
    before = own.read_text()
    try:
        own.write_text("-500")
    except OSError:
        return False
    own.write_text(before)
    return True


def test_t69_the_executor_outlives_its_jobs(run, system):
    """Whoever is short of memory: a job is ended before what runs it."""
    assert int(run("cat /proc/self/oom_score_adj")["stdout"]) == 500
    if not may_lower_its_score():
        pytest.skip("this machine lets nobody lower /proc/self/oom_score_adj")
    for program in (system.main, system.worker):
        score = pathlib.Path(f"/proc/{program.pid}/oom_score_adj").read_text()
        assert int(score) == -500
