# SPDX-License-Identifier: MIT
"""Results that wait on disk: of executors that were killed, once each."""

import harness

JOBS = 4


def spooled(place):
    return list((place / ".executr" / "spool").glob("results-*"))


def start_jobs(lab, server, go, runs):
    """Jobs that run, each a line in `runs`, until there is a file `go`."""
    job = lab.script(
        f'echo "$1" >> {runs}\n'
        f'while [ ! -e {go} ]; do sleep 0.02; done\n'
        'echo "result of $1"')
    sha256 = server.api.upload(job)
    ids = [server.api.submit(
        binary_url="", binary_sha256=sha256, arguments=[str(i)])["id"]
        for i in range(JOBS)]
    for job_id in ids:
        server.api.wait_status(job_id, "running")
    harness.until(
        lambda: runs.exists() and len(runs.read_text().split()) == JOBS,
        "all jobs ran")
    return ids


def test_t32_results_survive_server_and_executor(lab):
    go, runs = lab.place / "go", lab.place / "runs"
    flags = ("--max-jobs", str(JOBS), "--log-level", "debug")
    server = lab.server("--heartbeat-timeout", "60s")
    first = lab.executor(server, *flags)
    ids = start_jobs(lab, server, go, runs)
    holder = server.api.job(ids[0])["executor_id"]
    server.kill()
    go.touch()
    harness.until(
        lambda: sum(record.get("msg") == "job completed"
                    for record in first.records()) == JOBS,
        "all jobs ended")
    # The last results are on disk when a call that has them was tried.
    harness.until(
        lambda: all(f"result of {i}".encode() in spooled(lab.place)[0]
                    .read_bytes() for i in range(JOBS)), "all were spooled")
    first.kill()
    server = lab.restart(server)
    second = lab.executor(server, *flags)
    for i, job_id in enumerate(ids):
        job = server.api.wait(job_id)
        assert job["status"] == "completed", job
        assert job["stdout"] == f"result of {i}\n"
        assert job["executor_id"] == holder
        assert [a["status"] for a in job["attempts"]] == ["completed"]
    assert sorted(runs.read_text().split()) == [str(i) for i in range(JOBS)]
    harness.until(
        lambda: len(spooled(lab.place)) == 1, "the dead one's file was removed")
    assert second.stop() == 0
    assert not spooled(lab.place)


def test_second_stop_keeps_results_for_the_next_start(sqlite_lab):
    lab = sqlite_lab
    go, runs = lab.place / "go", lab.place / "runs"
    flags = ("--max-jobs", str(JOBS), "--log-level", "debug")
    server = lab.server("--heartbeat-timeout", "60s")
    first = lab.executor(server, *flags)
    ids = start_jobs(lab, server, go, runs)
    server.kill()
    go.touch()
    first.wait_for("cannot report jobs, trying again")
    harness.until(
        lambda: sum(record.get("msg") == "job completed"
                    for record in first.records()) == JOBS,
        "all jobs ended")
    first.signal(harness.signal.SIGTERM)
    first.wait_for("stopping: no new jobs, waiting for those that run")
    assert first.stop() in (0, 130, 143)
    assert "stay in the spool" in first.text
    server = lab.restart(server)
    lab.executor(server, *flags)
    for job_id in ids:
        job = server.api.wait(job_id)
        assert job["status"] == "completed", job
        assert len(job["attempts"]) == 1
