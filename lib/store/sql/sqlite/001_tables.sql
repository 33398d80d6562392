-- SPDX-License-Identifier: MIT
-- The tables of an embedded store. Moments are microseconds since 1970 UTC;
-- status, priority and outcome are the words of the REST API. Small columns
-- stand first, so that a look at them never follows a row's overflow pages.

-- The row id is the order of submission; a job keeps it for ever.
CREATE TABLE jobs (
    seq INTEGER PRIMARY KEY,
    id TEXT NOT NULL UNIQUE,
    status TEXT NOT NULL,
    priority TEXT NOT NULL,
    type TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    started_at INTEGER,
    completed_at INTEGER,
    last_heartbeat INTEGER,
    attempt INTEGER NOT NULL DEFAULT 0,
    max_retries INTEGER NOT NULL,
    retry_count INTEGER NOT NULL DEFAULT 0,
    retry_after INTEGER,
    lost_count INTEGER NOT NULL DEFAULT 0,
    cancel_requested INTEGER NOT NULL DEFAULT 0,
    exclusive INTEGER NOT NULL,
    demands INTEGER NOT NULL,
    executor_id TEXT,
    executor_ip TEXT,
    exit_code INTEGER,
    outcome TEXT,
    signal INTEGER,
    error_message TEXT,
    limits TEXT,
    binary_url TEXT,
    binary_sha256 TEXT NOT NULL,
    arguments TEXT NOT NULL,
    env_variables TEXT NOT NULL
) STRICT;

-- How the running jobs of an executor are found.
CREATE INDEX jobs_running ON jobs (executor_id) WHERE status = 'running';

-- Exactly the claimable jobs, in the order they are claimed.
CREATE TABLE queue (
    priority INTEGER NOT NULL,
    seq INTEGER NOT NULL,
    job_id TEXT NOT NULL,
    type TEXT NOT NULL,
    demands INTEGER NOT NULL,
    PRIMARY KEY (priority, seq)
) STRICT, WITHOUT ROWID;

-- Pending jobs that are not claimable before due_at.
CREATE TABLE waiting (
    job_id TEXT NOT NULL PRIMARY KEY,
    due_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX waiting_due ON waiting (due_at);

CREATE TABLE job_attempts (
    job_id TEXT NOT NULL,
    attempt INTEGER NOT NULL,
    executor_id TEXT NOT NULL,
    executor_ip TEXT NOT NULL,
    started_at INTEGER NOT NULL,
    ended_at INTEGER NOT NULL,
    status TEXT NOT NULL,
    outcome TEXT,
    exit_code INTEGER,
    signal INTEGER,
    error_message TEXT,
    user_seconds REAL,
    system_seconds REAL,
    wall_seconds REAL,
    max_rss_bytes INTEGER,
    stdout BLOB,
    stderr BLOB,
    PRIMARY KEY (job_id, attempt)
) STRICT;

-- One row: what counting the jobs would give.
CREATE TABLE job_counts (
    foreground INTEGER NOT NULL,
    background INTEGER NOT NULL,
    best_effort INTEGER NOT NULL,
    running INTEGER NOT NULL,
    completed INTEGER NOT NULL,
    failed INTEGER NOT NULL,
    cancelled INTEGER NOT NULL
) STRICT;
INSERT INTO job_counts VALUES (0, 0, 0, 0, 0, 0, 0);

CREATE TABLE idempotency_keys (
    key TEXT NOT NULL PRIMARY KEY,
    job_id TEXT NOT NULL,
    digest TEXT NOT NULL,
    created_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX idempotency_keys_job ON idempotency_keys (job_id);

-- last_heartbeat is any sign of life; leases_at the last heartbeat that named
-- all leases.
CREATE TABLE executors (
    executor_id TEXT NOT NULL PRIMARY KEY,
    executor_ip TEXT NOT NULL,
    version TEXT NOT NULL DEFAULT '',
    max_jobs INTEGER NOT NULL DEFAULT 0,
    first_seen INTEGER NOT NULL,
    last_heartbeat INTEGER NOT NULL,
    leases_at INTEGER,
    jobs_completed INTEGER NOT NULL DEFAULT 0,
    cache_hits INTEGER NOT NULL DEFAULT 0,
    cache_misses INTEGER NOT NULL DEFAULT 0,
    cache_bytes INTEGER NOT NULL DEFAULT 0,
    cache_max_bytes INTEGER NOT NULL DEFAULT 0
) STRICT, WITHOUT ROWID;

-- A binary is visible once its row is here; its bytes are the parts of the
-- upload that brought it.
CREATE TABLE binaries (
    sha256 TEXT NOT NULL PRIMARY KEY,
    bytes INTEGER NOT NULL,
    upload_id TEXT NOT NULL,
    created_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE TABLE binary_parts (
    upload_id TEXT NOT NULL,
    part INTEGER NOT NULL,
    data BLOB NOT NULL,
    PRIMARY KEY (upload_id, part)
) STRICT;
CREATE TABLE binary_uploads (
    upload_id TEXT NOT NULL PRIMARY KEY,
    touched_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
