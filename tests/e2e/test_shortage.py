# SPDX-License-Identifier: MIT
"""An executor on a machine that runs out of something: the job is charged
nothing, what runs goes on, and the executor is back when the machine is."""

import contextlib
import os
import pathlib
import resource
import shutil
import subprocess
import tempfile

import pytest

from harness import environment, until

FAST = ("--heartbeat-interval", "300ms", "--poll-interval", "200ms",
        "--max-jobs", "4")
NOBODY = 65534


@pytest.fixture
def small_disk(tmp_path):
    """Makes volumes of a few megabytes."""
    made = []

    def make(name, megabytes):
        place = tmp_path / name
        place.mkdir(parents=True)
        done = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", f"size={megabytes}m,mode=0700",
             "none", place], capture_output=True, text=True, check=False)
        if done.returncode:
            pytest.skip("a volume that can be filled needs root, to mount a "
                        f"tmpfs: {done.stderr.strip()}")
        made.append(place)
        return place
    yield make
    for place in made:
        subprocess.run(["umount", "-l", place], check=True)


def fill(volume):
    """Use up all of it; give the file that does."""
    path = volume / "filler"
    with open(path, "wb", buffering=0) as out, contextlib.suppress(OSError):
        while True:
            out.write(bytes(4096))
    return path


def waits_uncharged(api, job):
    """It was claimed and given back, with the reason; give that."""
    def look():
        now = api.job(job["id"])
        assert now["status"] in ("pending", "running"), now
        ended = [a for a in now["attempts"] if a["status"] != "running"]
        return ended and (now, ended)
    now, ended = until(look, "the job was given back")
    assert now["retry_count"] == 0
    assert {a["status"] for a in ended} == {"released"}, ended
    return ended[0]["error_message"]


def ends_uncharged(api, job):
    done = api.wait(job["id"])
    assert done["status"] == "completed" and done["retry_count"] == 0, done
    assert [a["status"] for a in done["attempts"]].count("released") == len(
        done["attempts"]) - 1, done
    return done


def beats_on(api, executor):
    def last():
        return next(e["last_heartbeat"] for e in api.get(
            "/admin/executors").json if e["executor_id"] == executor.id)
    before = last()
    until(lambda: last() != before, "another heartbeat came")


def submit(lab, api, text):
    """A job of shell lines, whose binary the server has."""
    answer = api.post("/jobs", {
        "type": "t", "binary_sha256": api.upload(lab.script(text)),
        "env_variables": {"PATH": "/usr/bin:/bin"}})
    assert answer.status == 201, answer
    return answer.json


def test_t40_full_work_directory(lab, small_disk, tmp_path):
    api = lab.server("--heartbeat-timeout", "3s").api
    base = tmp_path / "base"
    work = small_disk("base/work", 4)
    first = lab.executor(api.url, *FAST, base=base)
    go = tmp_path / "go"
    started = tmp_path / "started"
    runs = submit(lab, api, f"touch {started}\n"
                  f"until [ -e {go} ]; do sleep 0.05; done")
    until(started.exists, "it runs")
    filler = fill(work)

    job = submit(lab, api, "echo well")
    assert "full" in waits_uncharged(api, job)
    assert first.wait_for("out of service: no new jobs until this is better")
    beats_on(api, first)
    # Elsewhere it runs at once, and here what ran goes on to its end.
    second = lab.executor(api.url, *FAST)
    assert ends_uncharged(api, job)["executor_id"] == second.id
    second.stop()
    go.touch()
    assert ends_uncharged(api, runs)["executor_id"] == first.id

    job = submit(lab, api, "echo better")
    assert api.job(job["id"])["status"] == "pending"
    filler.unlink()
    assert first.wait_for("back in service")
    assert ends_uncharged(api, job)["stdout"] == "better\n"


def test_t40_full_cache_volume(lab, small_disk, tmp_path):
    api = lab.server().api
    base = tmp_path / "base"
    cache = small_disk("base/cache", 8)
    executor = lab.executor(api.url, *FAST, base=base)
    filler = fill(cache)
    job = submit(lab, api, "echo well\n#" + "x" * 2000000)
    assert "full" in waits_uncharged(api, job)
    assert executor.wait_for("out of service: no new jobs until this is better")
    beats_on(api, executor)
    # Nothing half-made is under a name that could be run.
    assert not [p for p in (cache / "objects").rglob("*") if p.is_file()]
    filler.unlink()
    assert executor.wait_for("back in service")
    assert ends_uncharged(api, job)["stdout"] == "well\n"


def test_t40_binary_larger_than_the_disk(lab, small_disk, tmp_path):
    """It is the job that fails, and what is cached stays."""
    api = lab.server().api
    cache = small_disk("base/cache", 8)
    executor = lab.executor(api.url, *FAST, base=tmp_path / "base")
    ends_uncharged(api, submit(lab, api, "echo well"))

    def kept():
        return [p for p in (cache / "objects").rglob("*") if p.is_file()]
    before = kept()
    job = api.wait(submit(lab, api, "echo well\n#" + "x" * 20000000)["id"])
    assert job["outcome"] == "fetch_failed", job
    assert "run the job where there is more" in job["error_message"], job
    assert kept() == before and len(before) == 1
    assert not list((cache / "tmp").iterdir())
    ends_uncharged(api, submit(lab, api, "echo better"))
    assert executor.stop() == 0


def no_memory(pid):
    pages = int(pathlib.Path(f"/proc/{pid}/statm").read_text().split()[0])
    return "as", pages * resource.getpagesize() + (1 << 19)


def no_process(pid):
    return "nproc", 1


def limit(pid, user, kind, number):
    """Set a soft limit of a process as its user, as only he may; the old one.
    """
    command = ["prlimit", "--pid", str(pid)]
    if user:
        command = ["setpriv", f"--reuid={user}", f"--regid={user}",
                   "--clear-groups", *command]
    old = subprocess.run(
        [*command, f"--{kind}", "-o", "SOFT", "--noheadings", "--raw"],
        check=True, capture_output=True, text=True).stdout.strip()
    subprocess.run([*command, f"--{kind}={number}:"], check=True)
    return old


@pytest.mark.parametrize(
    "shortage, runs_one", [(no_memory, False), (no_process, True)])
def test_t40_limits_of_the_executor(lab, shortage, runs_one):
    api = lab.server("--heartbeat-timeout", "3s").api
    base = pathlib.Path(tempfile.mkdtemp(prefix="executr-e2e."))
    user = NOBODY if os.getuid() == 0 else None
    try:
        base.chmod(0o755)
        if user:
            shutil.chown(base, user, user)
        executor = lab.executor(
            api.url, *FAST, base=base, user=user, env=environment(base))
        go, runs = base / "go", None
        if runs_one:
            runs = submit(
                lab, api,
                f"echo > {base / 'on'}\nuntil [ -e {go} ]; do :; done")
            until((base / "on").exists, "it runs")
        kind, number = shortage(executor.pid)
        before = limit(executor.pid, user, kind, number)

        job = submit(lab, api, "echo well")
        assert waits_uncharged(api, job)
        assert executor.wait_for(
            "out of service: no new jobs until this is better")
        beats_on(api, executor)
        go.touch()
        if runs:
            assert ends_uncharged(api, runs)["attempt"] == 1
        limit(executor.pid, user, kind, before)
        assert executor.wait_for("back in service")
        assert ends_uncharged(api, job)["stdout"] == "well\n"
        assert executor.stop() == 0
    finally:
        shutil.rmtree(base)


def test_t40_more_files_than_may_be_open(lab, tmp_path):
    """Slots for far more programs than there are descriptors for."""
    api = lab.server().api
    go = tmp_path / "go"
    executor = lab.executor(api.url, *FAST[:4], "--max-jobs", "40")
    before = limit(executor.pid, None, "nofile", 80)
    jobs = [submit(lab, api, f"until [ -e {go} ]; do sleep 0.1; done")
            for _ in range(40)]
    assert executor.wait_for("out of service: no new jobs until this is better")
    for _ in range(5):
        beats_on(api, executor)
    limit(executor.pid, None, "nofile", before)
    go.touch()
    assert executor.wait_for("back in service")
    for job in jobs:
        ends_uncharged(api, job)
    assert executor.stop() == 0
