# SPDX-License-Identifier: MIT
"""What a performance guide tells people to do: its benchmark, its queries, its
settings, word for word but for the URLs."""

import contextlib
import functools
import http.server
import os
import pathlib
import re
import subprocess
import threading
import time

import pytest

import harness
import invariants

FAST = ("--heartbeat-interval", "500ms")

# Many submissions at once from the shell, then waiting by the figures.
BENCHMARK = """#!/bin/bash
SERVER_URL="{server}"
NUM_JOBS=200
CONCURRENCY=10
START=$(date +%s)
for i in $(seq 1 $NUM_JOBS); do
  (
    executr submit \\
      --server-url $SERVER_URL \\
      --binary-url "{binary}" \\
      --type "benchmark-$((i % CONCURRENCY))" \\
      --priority background \\
      --output json > /dev/null
  ) &
  if [ $((i % CONCURRENCY)) -eq 0 ]; then
    wait
  fi
done
wait
END=$(date +%s)
echo "Submitted $NUM_JOBS jobs in $((END - START)) seconds"
while true; do
  PENDING=$(curl -s "$SERVER_URL/api/v1/admin/stats" |
    jq '.jobs_by_status.pending // 0')
  RUNNING=$(curl -s "$SERVER_URL/api/v1/admin/stats" |
    jq '.jobs_by_status.running // 0')
  if [ "$PENDING" -eq 0 ] && [ "$RUNNING" -eq 0 ]; then
    break
  fi
  sleep 1
done
echo "All jobs completed in $(($(date +%s) - START)) seconds"
"""


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_arguments):
        pass


@contextlib.contextmanager
def file_server(directory):
    """Serve a directory; gives its URL and the paths that were asked for."""
    asked = []

    class Handler(Quiet):
        def do_GET(self):
            asked.append(self.path)
            super().do_GET()
    server = http.server.ThreadingHTTPServer(
        ("127.0.0.1", 0), functools.partial(Handler, directory=directory))
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", asked
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def build_tiny(directory):
    """A small real program."""
    source = "int main(void) { return 0; }\n"
    path = directory / "test-binary"
    subprocess.run(["cc", "-x", "c", "-", "-o", path], input=source,
                   text=True, check=True)
    return path


@pytest.mark.long
def test_the_benchmark_runs(lab):
    web = lab.place / "web"
    web.mkdir()
    build_tiny(web)
    server = lab.server()
    worker = lab.executor(server, "--max-jobs", "4", *FAST)
    with file_server(web) as (url, asked):
        script = lab.place / "benchmark"
        script.write_text(BENCHMARK.format(
            server=server.url, binary=f"{url}/test-binary"))
        env = harness.environment(lab.place)
        env["PATH"] = f"{harness.BIN}:{env['PATH']}"
        done = subprocess.run(
            ["setpriv", "--pdeathsig=KILL", "bash", script], env=env,
            capture_output=True, text=True, timeout=240, check=False)
        assert (done.returncode, done.stderr) == (0, ""), done
        assert "Submitted 200 jobs" in done.stdout
        assert "All jobs completed" in done.stdout
        jobs = server.api.get("/jobs?limit=1000").json
        assert len(jobs) == 200
        assert {j["status"] for j in jobs} == {"completed"}
        assert {j["type"] for j in jobs} == {
            f"benchmark-{i}" for i in range(10)}
        # Hashed at each submission, fetched once to be run 200 times.
        assert len(asked) == 201
    assert {j["executor_id"] for j in jobs} == {worker.id}
    invariants.check(lab.store)


GUIDE_QUERIES = [
    "VACUUM ANALYZE jobs", "VACUUM ANALYZE job_attempts",
    "REINDEX TABLE jobs", "REINDEX TABLE job_attempts",
    """SELECT schemaname, relname AS tablename, indexrelname AS indexname,
       idx_scan, idx_tup_read, idx_tup_fetch FROM pg_stat_user_indexes
       WHERE schemaname = 'public' ORDER BY idx_scan DESC""",
    "SELECT count(*) FROM pg_stat_activity",
    """SELECT pid, now() - query_start AS duration, query
       FROM pg_stat_activity WHERE state = 'active'
       AND now() - query_start > '1 second'::interval
       ORDER BY duration DESC""",
    """SELECT relname AS table,
       pg_size_pretty(pg_total_relation_size(relid)) AS size
       FROM pg_stat_user_tables WHERE schemaname = 'public'
       ORDER BY pg_total_relation_size(relid) DESC""",
    """SELECT sum(idx_blks_hit)
       / NULLIF(sum(idx_blks_hit + idx_blks_read), 0) AS index_hit_ratio
       FROM pg_statio_user_indexes""",
]

CLAIM_BY_HAND = """
EXPLAIN ANALYZE
UPDATE jobs
SET status = 'running', executor_id = 'test', started_at = NOW(),
    last_heartbeat = NOW()
WHERE id = (
    SELECT id FROM jobs
    WHERE status = 'pending'
    ORDER BY CASE priority WHEN 'foreground' THEN 1 WHEN 'background' THEN 2
             WHEN 'best_effort' THEN 3 END, created_at
    FOR UPDATE SKIP LOCKED
    LIMIT 1
)
RETURNING *"""


def test_the_queries_of_operators_work(postgres_lab):
    lab = postgres_lab
    server = lab.server()
    for _ in range(20):
        server.api.submit()
    for sql in GUIDE_QUERIES:
        lab.store.query(sql)
    sizes = dict(lab.store.query(GUIDE_QUERIES[7]))
    assert {"jobs", "job_attempts"} <= set(sizes)
    columns = {row[0] for row in lab.store.query("""
        SELECT column_name FROM information_schema.columns
        WHERE table_name = 'jobs'""")}
    assert columns >= {
        "id", "type", "binary_url", "binary_sha256", "arguments",
        "env_variables", "priority", "status", "executor_id", "exit_code",
        "error_message", "created_at", "started_at", "completed_at",
        "last_heartbeat", "max_retries", "retry_count", "retry_after"}
    applied = lab.store.query("SELECT count(*) FROM schema_migrations")
    assert int(applied[0][0]) > 0
    invariants.check(lab.store)


@pytest.mark.long
def test_a_job_claimed_by_hand_comes_back(postgres_lab):
    lab = postgres_lab
    server = lab.server("--heartbeat-timeout", "1s")
    first = server.api.submit(priority="foreground")["id"]
    server.api.submit(priority="best_effort")
    plan = lab.store.query(CLAIM_BY_HAND)
    assert any("Update on jobs" in row[0] for row in plan)
    harness.until(
        lambda: server.api.job(first)["status"] == "pending"
        or server.api.claim("e", priorities=["foreground"]),
        "the job was taken back", 60, 0.2)
    got = server.api.claim("e", max_jobs=5, wait="10s")
    seen = {job["id"]: job for job in got}
    for job in server.api.get("/jobs?status=running").json:
        seen.setdefault(job["id"], job)
    assert len(seen) == 2
    for job in seen.values():
        assert server.api.finish(job, "e") == 204
    assert server.api.stats()["jobs_by_status"]["completed"] == 2
    invariants.check(lab.store)


@pytest.mark.parametrize("variables", [
    {"EXECUTR_MAX_JOBS": "4", "EXECUTR_MAX_CACHE_SIZE": "10000",
     "EXECUTR_POLL_INTERVAL": "1s"},
    {"EXECUTR_MAX_CACHE_SIZE": "100", "EXECUTR_POLL_INTERVAL": "10s"},
    {"EXECUTR_MAX_CACHE_SIZE": "10GB"}])
def test_the_variables_of_an_executor(sqlite_lab, variables):
    server = sqlite_lab.server()
    sqlite_lab.executor(server, *FAST, env=harness.environment(
        sqlite_lab.place, **variables))
    entry = harness.until(
        lambda: server.api.get("/admin/executors").json, "it is seen")[0]
    assert entry["max_jobs"] == int(variables.get("EXECUTR_MAX_JOBS", 1))
    sha256 = server.api.upload(sqlite_lab.script("exit 0"))
    job = server.api.submit(binary_url=f"{server.url}/api/v1/binaries/"
                            f"{sha256}", binary_sha256=sha256)
    assert server.api.wait(job["id"])["status"] == "completed"


@pytest.mark.parametrize("interval, retention", [
    ("15m", "12h"), ("6h", "168h"), ("1h", "48h")])
def test_the_variables_of_a_server(sqlite_lab, interval, retention):
    server = sqlite_lab.server(env=harness.environment(
        sqlite_lab.place, EXECUTR_CLEANUP_INTERVAL=interval,
        EXECUTR_JOB_RETENTION=retention))
    assert server.api.get("/health").status == 200


def test_old_jobs_are_cleaned(lab):
    server = lab.server("--cleanup-interval", "200ms",
                        "--job-retention", "500ms")
    keep = server.api.submit(type="keep")["id"]
    server.api.submit(type="end")
    job = server.api.claim(types=["end"])[0]
    assert server.api.finish(job) == 204
    harness.until(lambda: server.api.get(
        f"/jobs/{job['id']}").status == 404, "it was deleted")
    assert server.api.job(keep)["status"] == "pending"
    assert server.api.stats()["jobs_by_status"]["completed"] == 0
    text = server.api.get("/metrics").body.decode()
    assert re.search(r"^executr_old_jobs_cleaned_total 1$", text, re.M)
    attempts = lab.store.query("SELECT count(*) FROM job_attempts")
    assert int(attempts[0][0]) == 0
    invariants.check(lab.store)


def test_the_pool_keeps_to_its_size(postgres_lab):
    lab = postgres_lab
    lab.store.url += "?pool_max_conns=3&pool_min_conns=2"
    server = lab.server()
    threads = [threading.Thread(target=lambda: [
        server.api.submit() for _ in range(10)]) for _ in range(20)]
    for thread in threads:
        thread.start()
    most = 0
    while any(thread.is_alive() for thread in threads):
        rows = harness.psql(harness.PG_URL, f"""
            SELECT count(*) FROM pg_stat_activity
            WHERE datname = '{lab.store.name}'""")
        most = max(most, int(rows[0][0]))
        time.sleep(0.05)
    for thread in threads:
        thread.join()
    assert 1 <= most <= 3 + 1, "the pool, and one that listens"
    lab.store.url = lab.store.url.split("?")[0]
    assert int(lab.store.query("SELECT count(*) FROM jobs")[0][0]) == 200


def metric_value(server, name, labels=""):
    text = server.api.get("/metrics").body.decode()
    match = re.search(
        rf"^{name}{re.escape(labels)} (\S+)$", text, re.M)
    return float(match.group(1)) if match else None


def test_the_metrics_count_what_happens(lab):
    server = lab.server()
    worker = lab.executor(
        server, "--max-jobs", "2", "--types", "good,bad", *FAST)
    cli = lab.cli(server)
    cli("run", lab.script("exit 0"), "--type", "good")
    cli("run", lab.script("exit 1"), "--type", "bad", code=1)
    waiting = server.api.submit()["id"]
    depth = metric_value(
        server, "executr_queue_depth", '{priority="background"}')
    assert depth == 1
    server.api.delete(f"/jobs/{waiting}")
    for name, kind, value in (
            ("executr_jobs_submitted_total", "good", 1),
            ("executr_jobs_completed_total", "good", 1),
            ("executr_jobs_failed_total", "bad", 1)):
        labels = f'{{type="{kind}",priority="background"}}'
        assert metric_value(server, name, labels) == value, name
    assert metric_value(server, "executr_job_duration_seconds_count") == 2 or \
        "executr_job_duration_seconds_count" in server.api.get(
            "/metrics").body.decode()
    assert metric_value(server, "executr_executors_active") == 1
    assert worker.running


def test_a_thousand_types_do_not_grow_the_metrics(sqlite_lab):
    server = sqlite_lab.server()
    body = [{"type": f"type-{i}", "binary_sha256": "ab" * 32,
             "binary_url": "http://h/x"} for i in range(1000)]
    assert server.api.post("/jobs/bulk", body).status == 201
    text = server.api.get("/metrics").body.decode()
    types = set(re.findall(r'type="([^"]*)"', text))
    assert len(types) < 300
    assert len(text) < 2_000_000


def test_the_directories_can_be_looked_into(sqlite_lab):
    server = sqlite_lab.server()
    worker = sqlite_lab.executor(server, *FAST)
    sqlite_lab.cli(server)("run", "/bin/true")
    done = subprocess.run(
        ["find", str(worker.work), "-mindepth", "2", "-type", "d"],
        capture_output=True, text=True, check=True)
    assert done.stdout == ""
    assert any(p.stat().st_mode & 0o777 == 0o555
               for p in pathlib.Path(worker.cache).rglob("*")
               if p.is_file() and os.access(p, os.X_OK))
