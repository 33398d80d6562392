-- SPDX-License-Identifier: MIT
-- The tables.
--
-- Locks are taken in one order everywhere: executors, queue, jobs (by id),
-- waiting. Claims take queue rows with SKIP LOCKED and so wait for nobody
-- there.

CREATE TABLE schema_migrations (
    version integer PRIMARY KEY,
    name text NOT NULL,
    applied_at timestamptz NOT NULL DEFAULT now()
);

-- The truth about every job. It has no index but its key, and free room in
-- every page (fillfactor): so the two updates of a job's life, claimed and
-- finished, stay in their page and touch no index (heap-only): a page has to
-- hold all its jobs claimed and all of them finished. What never changes stands
-- first, then what a claim sets, then what the end sets: the log of an update
-- begins where the row differs.
CREATE TABLE jobs (
    id uuid PRIMARY KEY,
    seq bigint NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    max_retries integer NOT NULL DEFAULT 0,
    demands integer NOT NULL DEFAULT 0,
    exclusive boolean NOT NULL DEFAULT false,
    type text NOT NULL,
    binary_url text,
    binary_sha256 text NOT NULL,
    arguments json NOT NULL,
    env_variables json NOT NULL,
    limits text,
    priority text NOT NULL,
    cancel_requested boolean NOT NULL DEFAULT false,
    retry_count integer NOT NULL DEFAULT 0,
    lost_count integer NOT NULL DEFAULT 0,
    attempt integer NOT NULL DEFAULT 0,
    started_at timestamptz,
    last_heartbeat timestamptz,
    executor_id text,
    executor_ip text,
    status text NOT NULL,
    completed_at timestamptz,
    retry_after timestamptz,
    exit_code integer,
    signal integer,
    outcome text,
    error_message text
) WITH (
    fillfactor = 38,
    -- Dead versions are pruned within their page; a vacuum is only for what
    -- that misses, the visibility map and freezing. Statistics are not needed
    -- by any plan of ours.
    autovacuum_vacuum_scale_factor = 0.1,
    autovacuum_vacuum_insert_scale_factor = 0.1,
    autovacuum_vacuum_cost_delay = 1
);

-- Numbers the jobs in the order of their submission: one value a statement,
-- each job of it adds its position. The increment is therefore also the
-- largest number of jobs in one statement.
CREATE SEQUENCE queue_seq INCREMENT BY 16384;

-- Exactly the jobs that can be claimed. A row lives from submit to claim (a job
-- that a claim waits for has none), so this table is small and churns: vacuum often (a fixed number of dead rows,
-- not a share) and without pausing, or claims wade through what is left of
-- claimed rows.
CREATE TABLE queue (
    seq bigint NOT NULL,
    job_id uuid NOT NULL,
    demands integer NOT NULL,
    priority smallint NOT NULL,
    type text NOT NULL,
    PRIMARY KEY (priority, seq)
) WITH (
    autovacuum_vacuum_scale_factor = 0,
    autovacuum_vacuum_threshold = 5000,
    autovacuum_vacuum_insert_scale_factor = 0.5,
    autovacuum_vacuum_cost_delay = 0
);

-- Pending jobs that may not be claimed yet; due_at is jobs.retry_after.
CREATE TABLE waiting (
    job_id uuid PRIMARY KEY,
    due_at timestamptz NOT NULL
);
CREATE INDEX waiting_due_at ON waiting (due_at);

-- What an executor may hold: one row a claim. It stands in for an index on
-- running jobs; a row may name jobs that are over by now, but every running
-- job is named under its executor.
CREATE TABLE claims (
    id bigint GENERATED ALWAYS AS IDENTITY,
    claimed_at timestamptz NOT NULL,
    executor_id text NOT NULL,
    job_ids uuid[] NOT NULL,
    PRIMARY KEY (executor_id, id)
) WITH (
    autovacuum_vacuum_scale_factor = 0,
    autovacuum_vacuum_threshold = 2000,
    autovacuum_vacuum_cost_delay = 0
);

CREATE TABLE executors (
    executor_id text PRIMARY KEY,
    executor_ip text NOT NULL,
    version text,
    max_jobs integer NOT NULL DEFAULT 1,
    first_seen timestamptz NOT NULL,
    last_heartbeat timestamptz NOT NULL, -- any sign of life
    leases_at timestamptz,               -- the last heartbeat for all its jobs
    jobs_completed bigint NOT NULL DEFAULT 0,
    cache_hits bigint NOT NULL DEFAULT 0,
    cache_misses bigint NOT NULL DEFAULT 0,
    cache_bytes bigint NOT NULL DEFAULT 0,
    cache_max_bytes bigint NOT NULL DEFAULT 0
) WITH (fillfactor = 50);

-- One row an attempt that ended; never changed.
CREATE TABLE job_attempts (
    job_id uuid NOT NULL,
    attempt integer NOT NULL,
    status text NOT NULL,
    executor_id text NOT NULL,
    executor_ip text,
    started_at timestamptz NOT NULL,
    ended_at timestamptz NOT NULL,
    outcome text,
    exit_code integer,
    signal integer,
    error_message text,
    user_seconds double precision,
    system_seconds double precision,
    wall_seconds double precision,
    max_rss_bytes bigint,
    stdout bytea,
    stderr bytea,
    PRIMARY KEY (job_id, attempt)
) WITH (
    autovacuum_vacuum_insert_scale_factor = 0.1,
    autovacuum_vacuum_cost_delay = 1
);

-- How many jobs there are, as a sum over rows of changes: statements append
-- and never wait for each other; upkeep folds the rows into one. The same for
-- what executors completed.
CREATE TABLE job_counts (
    foreground bigint NOT NULL DEFAULT 0,
    background bigint NOT NULL DEFAULT 0,
    best_effort bigint NOT NULL DEFAULT 0,
    running bigint NOT NULL DEFAULT 0,
    completed bigint NOT NULL DEFAULT 0,
    failed bigint NOT NULL DEFAULT 0,
    cancelled bigint NOT NULL DEFAULT 0
) WITH (
    autovacuum_vacuum_scale_factor = 0,
    autovacuum_vacuum_threshold = 1000,
    autovacuum_vacuum_cost_delay = 0
);
CREATE TABLE executor_counts (
    executor_id text NOT NULL,
    jobs_completed bigint NOT NULL
) WITH (
    autovacuum_vacuum_scale_factor = 0,
    autovacuum_vacuum_threshold = 1000,
    autovacuum_vacuum_cost_delay = 0
);

CREATE TABLE idempotency_keys (
    key text PRIMARY KEY,
    job_id uuid NOT NULL,
    digest text NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX idempotency_keys_job ON idempotency_keys (job_id);

-- Binaries, in parts. An upload is visible once `binaries` names it.
CREATE TABLE binaries (
    sha256 text PRIMARY KEY,
    bytes bigint NOT NULL,
    upload_id uuid NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now()
);
CREATE TABLE binary_parts (
    upload_id uuid NOT NULL,
    part integer NOT NULL,
    data bytea NOT NULL,
    PRIMARY KEY (upload_id, part)
);
-- Executables hardly compress, and reading them is what happens often.
ALTER TABLE binary_parts ALTER COLUMN data SET STORAGE EXTERNAL;
CREATE TABLE binary_uploads (
    upload_id uuid PRIMARY KEY,
    touched_at timestamptz NOT NULL DEFAULT now()
);

-- Servers where claims wait for jobs; others notify them. Worth nothing after
-- a crash, hence unlogged, which also spares a flush a second.
CREATE UNLOGGED TABLE watchers (
    id uuid PRIMARY KEY,
    parked_until timestamptz NOT NULL
);
