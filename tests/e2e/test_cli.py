# SPDX-License-Identifier: MIT
"""The executr command as a user has it, with a server and an executor."""

import hashlib
import json
import os
import pathlib
import signal
import time

import pytest

import harness
import invariants

FAST = ("--heartbeat-interval", "500ms", "--poll-interval", "200ms")


@pytest.fixture(scope="module")
def system(shared):
    shared.worker = shared.executor(
        shared.main, "--max-jobs", "4", "--priorities",
        "foreground,background", *FAST)
    return shared


@pytest.fixture
def cli(system, api):
    return system.cli(system.main)


def test_submit_wait_logs_status(system, cli):
    path = system.script('echo "out $1"; echo "err $K" >&2; exit 0')
    job = cli.json("submit", path, "--type", "full", "--args", "first",
                   "--env", "K=v", "--priority", "foreground", "--", "second")
    assert job["job_id"] == job["id"] and job["status"] == "pending"
    assert job["arguments"] == ["first", "second"]
    assert job["type"] == "full" and job["priority"] == "foreground"
    out, _ = cli("wait", job["id"])
    assert out == f"{job['id']} completed\n"
    assert cli("logs", job["id"]) == ("out first\n", "err v\n")
    assert cli("logs", job["id"], "--stream", "stdout")[0] == "out first\n"
    done = cli.json("status", job["id"])
    assert done["status"] == "completed" and done["exit_code"] == 0
    assert done["stdout"] == "out first\n" and done["outcome"] == "exit"
    assert done["executor_id"] == system.worker.id
    attempt, = done["attempts"]
    assert attempt["outcome"] == "exit"
    assert attempt["usage"]["wall_seconds"] > 0
    table, _ = cli("status", job["id"])
    assert job["id"] in table and "completed" in table


def test_submit_prints_a_table_without_json(system, cli):
    out, _ = cli("submit", system.script("exit 0"))
    assert "status" in out and "pending" in out


def test_run_gives_output_and_exit_code(system, cli):
    path = system.script('printf "a\\0b"; echo "e" >&2; exit $1')
    out, err = cli("run", path, "--", "7", code=7)
    assert out == "a\0b" and err.startswith("e\n")
    assert cli("run", path, "--", "0")[0] == "a\0b"
    done = cli.json("run", path, "--", "0")
    assert done["status"] == "completed" and done["job_id"]


def test_run_gives_the_very_bytes(system, cli):
    path = system.script("printf '\\377\\376\\357\\277\\275'; printf '\\200' >&2")
    process = cli.start("run", path)
    assert process.communicate(timeout=30) == (
        b"\xff\xfe\xef\xbf\xbd", b"\x80")


def test_run_of_a_killed_program_is_128_and_the_signal(system, cli):
    path = system.script("kill -9 $$")
    _, err = cli("run", path, code=137)
    assert err.startswith("executr: ")
    out, _ = cli("submit", path, "--output", "json")
    job = json.loads(out)
    cli("wait", job["id"], code=137)
    done = cli.json("status", job["id"])
    assert done["outcome"] == "signal" and done["signal"] == 9
    assert "exit_code" not in done and done["status"] == "failed"


def test_run_of_what_is_no_program_fails_with_words(system, cli):
    path = system.place / f"no-program-{time.monotonic_ns()}"
    path.write_text(f"#!/no/such/interpreter\n{path}\n")
    path.chmod(0o755)
    _, err = cli("run", path, code=1)
    assert "executr: " in err and "\n" == err[-1]
    jobs = cli.json("list", "--limit", "1")
    assert jobs[0]["outcome"] == "exec_failed"


def test_a_timeout_ends_a_job(system, cli):
    path = system.script("exec sleep 60")
    job = cli.json("submit", path, "--timeout", "300ms",
                   "--env", "PATH=/usr/bin:/bin")
    _, _ = cli("wait", job["id"], code=143)
    done = cli.json("status", job["id"])
    assert done["outcome"] == "timeout" and done["status"] == "failed"
    assert done["timeout"] == "300ms"


def test_the_same_file_is_uploaded_once(system, cli):
    path = system.script("exit 0")
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    first = cli.json("submit", path)
    second = cli.json("submit", path)
    third = cli.json("submit", "--binary-sha256", sha256)
    assert {j["binary_sha256"] for j in (first, second, third)} == {sha256}
    assert first["id"] != second["id"]
    cli("wait", first["id"], second["id"], third["id"])


def test_cancel_pending_and_running(system, cli, api):
    slow = system.script("trap 'exit 0' TERM; while :; do sleep 0.05; done")
    running = cli.json("submit", slow, "--env", "PATH=/usr/bin:/bin")["id"]
    api.wait_status(running, "running")
    out, _ = cli("cancel", running)
    assert "told to stop" in out
    done = api.wait(running)
    assert done["status"] in ("cancelled", "completed")
    waiting = api.submit(priority="best_effort")["id"]
    assert "is cancelled" in cli("cancel", waiting)[0]
    _, err = cli("cancel", waiting, code=1)
    assert err.startswith("executr: ")
    again = cli.json("retry", waiting)
    assert again["status"] == "pending"
    assert cli.json("cancel", waiting)["status"] == "cancelled"


def test_cancel_kills_a_job_that_ignores_it(system, cli, api):
    path = system.script("trap '' TERM; while :; do sleep 0.05; done")
    job = cli.json("submit", path, "--job-kill-grace", "200ms",
                   "--env", "PATH=/usr/bin:/bin")["id"]
    api.wait_status(job, "running")
    time.sleep(0.2)
    cli("cancel", job)
    done = api.wait(job)
    assert done["status"] == "cancelled" and done["outcome"] == "cancelled"


def test_retry_runs_a_failed_job_again(system, cli, api):
    marker = system.place / f"marker-{time.monotonic_ns()}"
    path = system.script(f"[ -e {marker} ] || {{ : > {marker}; exit 3; }}")
    job = cli.json("submit", path)["id"]
    cli("wait", job, code=3)
    cli("retry", job)
    cli("wait", job)
    attempts = api.job(job)["attempts"]
    assert [a["status"] for a in attempts] == ["failed", "completed"]
    cli("retry", job, code=1)


def test_retries_go_on_until_it_works(system, cli, api):
    count = system.place / f"count-{time.monotonic_ns()}"
    path = system.script(f"echo x >> {count}; [ $(wc -l < {count}) -ge 2 ]")
    job = cli.json("submit", path, "--max-retries", "5",
                   "--env", "PATH=/usr/bin:/bin")["id"]
    cli("wait", job)
    done = api.job(job)
    assert done["retry_count"] == 1 and done["attempt"] == 2
    assert [a["status"] for a in done["attempts"]] == ["failed", "completed"]


def test_list_stats_executors(system, cli):
    kind = f"cli-{time.monotonic_ns()}"
    job = cli.json("submit", system.script("exit 0"), "--type", kind)["id"]
    cli("wait", job)
    listed = cli.json("list", "--type", kind)
    assert [j["id"] for j in listed] == [job]
    assert cli.json("list", "--type", kind, "--status", "failed") == []
    table, _ = cli("list", "--limit", "1")
    assert table.splitlines()[0].startswith("ID ")
    assert cli.json("stats")["jobs_by_status"]["completed"] >= 1
    assert "completed" in cli("stats")[0]
    seen = cli.json("executors")
    assert system.worker.id in [e["executor_id"] for e in seen]
    assert system.worker.id in cli("executors")[0]


def test_logs_follow_until_the_end(system, cli, api):
    gate = system.place / f"gate-{time.monotonic_ns()}"
    path = system.script(
        f"echo first; until [ -e {gate} ]; do sleep 0.05; done; echo last")
    job = cli.json("submit", path, "--env", "PATH=/usr/bin:/bin")["id"]
    api.wait_status(job, "running")
    follower = cli.start("logs", job, "--follow")
    gate.touch()
    out, _ = follower.communicate(timeout=30)
    assert out == b"first\nlast\n" and follower.returncode == 0


def test_ctrl_c_cancels_a_run(system, cli, api):
    path = system.script("exec sleep 60")
    run = cli.start("run", path, "--type", "ctrl-c",
                    "--env", "PATH=/usr/bin:/bin")
    job = harness.until(
        lambda: api.get("/jobs?type=ctrl-c&status=running").json, "running")
    run.send_signal(signal.SIGINT)
    _, err = run.communicate(timeout=30)
    assert run.returncode != 0 and b"cancelling" in err
    assert api.wait(job[0]["id"])["status"] == "cancelled"


@pytest.mark.parametrize("line, code", [
    ([], 2), (["--help"], 0), (["--version"], 0), (["nonsense"], 2),
    (["submit"], 2), (["submit", "--help"], 0), (["status"], 2),
    (["submit", "a", "b"], 2), (["submit", "/no/such/file"], 1),
    (["submit", "/tmp"], 1), (["list", "--limit", "0"], 2),
    (["list", "--status", "x"], 2), (["stats", "extra"], 2),
    (["run", "--priority", "x", "/bin/true"], 2), (["list", "--nope"], 2),
    (["submit", "/bin/true", "--env", "NOEQUALS"], 2),
    (["status", "0192f0c1-7a7e-7cc3-98c4-dc0c0c07398f"], 1),
    (["wait", "not-an-id"], None)])
def test_exit_codes(cli, line, code):
    process = cli.start(*line)
    out, err = process.communicate(timeout=30)
    if code is None:
        assert process.returncode in (1, 2)
    else:
        assert process.returncode == code, (out, err)
    if process.returncode and line:
        assert err.startswith(b"executr: "), err
    if code == 0:
        assert out and not err


def test_no_server_is_said(system):
    nowhere = harness.Cli(system.place, "http://127.0.0.1:1")
    for line in (["stats"], ["run", "/bin/true"], ["list"]):
        _, err = nowhere(*line, code=1)
        assert "127.0.0.1" in err


def test_variables_count_below_flags(system, cli):
    bad = {"EXECUTR_SERVER_URL": "http://127.0.0.1:1"}
    cli("stats", code=1, env=bad)
    cli("stats", "--server-url", system.main.url, env=bad)
    out, _ = cli("stats", env={"EXECUTR_OUTPUT": "json"})
    assert json.loads(out)["timestamp"]
    cli("stats", code=2, env={"EXECUTR_OUTPUT": "xml"})


def test_run_local_needs_no_server(system):
    alone = harness.Cli(system.place)
    path = system.script('echo "local $*"; exit 5')
    place = system.place / f"local-{time.monotonic_ns()}"
    more = ("--cache-dir", place / "c", "--work-dir", place / "w")
    out, _ = alone("run", "--local", path, *more, "--", "x y", code=5)
    assert out == "local x y\n"
    alone("run", "--local", "/bin/true", *more,
          env={"TMPDIR": str(system.place)})
    assert not list(system.place.glob("executr-run-*"))
    assert not list((place / "w").iterdir())


def test_the_database_is_found_sound(system, cli, api):
    harness.until(lambda: api.stats()["jobs_by_status"]["running"] == 0
                  and api.stats()["jobs_by_status"]["pending"] == 0, "done")
    invariants.check(system.store)


def test_up_is_a_whole_system(sqlite_lab):
    up = sqlite_lab.program(
        "executr", "up", "--port", "0", "--db-url", sqlite_lab.store.url,
        "--cache-dir", sqlite_lab.place / "c", "--work-dir",
        sqlite_lab.place / "w", "--log-format", "json", "--max-jobs", "2")
    port = up.wait_for("listening")["port"]
    cli = harness.Cli(sqlite_lab.place, f"http://127.0.0.1:{port}")
    out, _ = cli("run", "/usr/bin/wc", "--", "-l", "/etc/passwd")
    assert out.endswith("/etc/passwd\n")
    slow = cli.json("submit", sqlite_lab.script("sleep 1; echo end"),
                    "--env", "PATH=/usr/bin:/bin")["id"]
    harness.Api(cli.env["EXECUTR_SERVER_URL"]).wait_status(slow, "running")
    assert up.stop() == 0
    rows = sqlite_lab.store.query(
        f"SELECT status FROM jobs WHERE id = '{slow}'")
    assert rows == [["completed"]]
    invariants.check(sqlite_lab.store)


def test_up_takes_its_store_from_the_data_directory(sqlite_lab):
    home = sqlite_lab.place / "home"
    env = harness.environment(home, XDG_DATA_HOME=home / "data")
    up = sqlite_lab.program(
        "executr", "up", "--port", "0", "--log-format", "json", "--work-dir",
        home / "w", env=env)
    up.wait_for("database connected")
    assert list((home / "data" / "executr").glob("*.db"))
    assert (home / ".executr" / "cache").is_dir()
    assert up.stop() == 0


def test_beyond_this_machine_only_with_a_token(sqlite_lab):
    refused = sqlite_lab.program(
        "executr-server", "--db-url", sqlite_lab.store.url, "--host",
        "0.0.0.0", "--port", "0")
    assert refused.process.wait(30) == 2 and "token" in refused.text
    secret = "s3cret-" + os.urandom(6).hex()
    env = harness.environment(sqlite_lab.place, EXECUTR_TOKEN=secret)
    server = sqlite_lab.server("--host", "0.0.0.0", env=env)
    assert server.api.get("/jobs").status == 401
    answer = server.api.get("/jobs", headers={"Authorization": "Bearer x"})
    assert answer.status == 401 and answer.json["code"] == "unauthorized"
    good = {"Authorization": f"Bearer {secret}"}
    assert server.api.get("/jobs", headers=good).status == 200
    assert server.api.get("/health").status == 200
    worker = sqlite_lab.executor(server, *FAST, env=env)
    cli = sqlite_lab.cli(server)
    cli("stats", code=1)
    token_file = sqlite_lab.place / "token"
    token_file.write_text(secret + "\n")
    cli("run", "/bin/true", "--token-file", token_file)
    for program in (server, worker):
        assert secret not in program.text
        command = pathlib.Path(f"/proc/{program.pid}/cmdline").read_bytes()
        assert secret.encode() not in command
