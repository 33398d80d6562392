-- SPDX-License-Identifier: MIT
-- Submit, claim, cancel and retry.
--
-- One function an operation, so that one round trip does it and its plans are
-- kept by the session even behind a pooler. The SET clauses make plans that
-- can't flip: a small side in memory, joined by key, whatever the statistics
-- say; on tables that were never analysed the planner would take sequential
-- scans and keep them while the tables grow. A disabled path costs 1e10, which
-- would call for JIT wherever no other exists, so that is off.

-- A job as a claim hands it out; its status and executor are known to whoever
-- asked. `slot` tells rows apart: here the request that the job is for.
CREATE TYPE executr_claimed_row AS (
    slot integer,
    id uuid,
    seq bigint,
    type text,
    priority text,
    attempt integer,
    created_at timestamptz,
    started_at timestamptz,
    max_retries integer,
    retry_count integer,
    exclusive boolean,
    exit_code integer,
    signal integer,
    outcome text,
    error_message text,
    binary_url text,
    binary_sha256 text,
    arguments json,
    env_variables json,
    limits text
);

-- A job as it is read: the same and more. `slot` is 0 for the job and 1 for its
-- attempts in executr_get.
CREATE TYPE executr_job_row AS (
    slot integer,
    id uuid,
    seq bigint,
    type text,
    priority text,
    attempt integer,
    created_at timestamptz,
    started_at timestamptz,
    max_retries integer,
    retry_count integer,
    exclusive boolean,
    exit_code integer,
    signal integer,
    outcome text,
    error_message text,
    binary_url text,
    binary_sha256 text,
    arguments json,
    env_variables json,
    limits text,
    status text,
    executor_id text,
    executor_ip text,
    last_heartbeat timestamptz,
    completed_at timestamptz,
    retry_after timestamptz,
    stdout bytea,
    stderr bytea,
    user_seconds double precision,
    system_seconds double precision,
    wall_seconds double precision,
    max_rss_bytes bigint
);

CREATE FUNCTION executr_priority_number(word text) RETURNS smallint
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT CASE word WHEN 'foreground' THEN 1 WHEN 'background' THEN 2
        ELSE 3 END::smallint
$$;

-- Put jobs into the queue table at their old places. A place that is taken
-- already is that of a job which somebody started by hand, past the queue:
-- that job was never counted as started.
CREATE FUNCTION executr_enqueue(p_ids uuid[]) RETURNS void
LANGUAGE plpgsql
SET enable_seqscan = off SET enable_bitmapscan = off SET enable_sort = off
SET enable_hashjoin = off SET enable_mergejoin = off SET enable_material = off
SET enable_memoize = off
SET plan_cache_mode = force_generic_plan SET jit = off
AS $$
DECLARE
    queued integer;
BEGIN
    INSERT INTO queue (priority, seq, job_id, type, demands)
    SELECT executr_priority_number(j.priority), j.seq, j.id, j.type, j.demands
    FROM jobs j WHERE j.id = ANY (p_ids)
    ON CONFLICT DO NOTHING;
    GET DIAGNOSTICS queued = ROW_COUNT;
    IF queued < cardinality(p_ids) THEN
        -- Rows of this very statement were not there when it looked; what it
        -- found in its way is counted as started now.
        INSERT INTO job_counts (foreground, background, best_effort, running)
        SELECT -count(*) FILTER (WHERE j.priority = 'foreground'),
            -count(*) FILTER (WHERE j.priority = 'background'),
            -count(*) FILTER (WHERE j.priority = 'best_effort'), count(*)
        FROM jobs j JOIN queue q
            ON q.priority = executr_priority_number(j.priority)
            AND q.seq = j.seq
        WHERE j.id = ANY (p_ids)
            AND q.xmin <> pg_current_xact_id()::xid;
    END IF;
END
$$;

-- Queue rows of these jobs were taken out, and the jobs turn out to run: they
-- were started by hand, past the queue. Give them an attempt of their own and
-- list them under their executor, so that their leases are watched.
CREATE FUNCTION executr_adopt(p_ids uuid[]) RETURNS void
LANGUAGE plpgsql
SET enable_seqscan = off SET enable_bitmapscan = off SET enable_sort = off
SET enable_hashjoin = off SET enable_mergejoin = off SET enable_material = off
SET enable_memoize = off
SET plan_cache_mode = force_generic_plan SET jit = off
AS $$
BEGIN
    WITH adopted AS (
        UPDATE jobs SET attempt = attempt + 1,
            executor_id = coalesce(executor_id, ''),
            started_at = coalesce(started_at, now()),
            last_heartbeat = coalesce(last_heartbeat, now())
        WHERE id = ANY (p_ids) AND status = 'running'
        RETURNING id, executor_id, last_heartbeat
    )
    INSERT INTO claims (executor_id, job_ids, claimed_at)
    SELECT executor_id, array_agg(id), min(last_heartbeat)
    FROM adopted GROUP BY executor_id;
END
$$;

-- Insert jobs. The first row of the answer has the time of submission and the
-- first place in the queue; others tell of jobs that were not inserted:
-- result 1 repeats the job `id` by its key, 2 used the key of another
-- description, 3 has neither a URL nor a stored binary; of those that a try
-- before this one inserted, 4 is its taker's and 5 is not, or not any more.
--
-- p_stored: some job has no URL. p_keys is NULL where no job has a key. p_takers
-- are executors whose claims wait for these very jobs, which are theirs at once
-- and never in the queue; NULL where nobody waits. p_again: a first try may have
-- been committed, so jobs that are there are left alone.
CREATE FUNCTION executr_submit(
    p_ids uuid[], p_types text[], p_urls text[], p_sha256s text[],
    p_arguments text[], p_environments text[], p_priorities text[],
    p_exclusive boolean[], p_max_retries integer[], p_demands integer[],
    p_limits text[], p_keys text[], p_digests text[], p_takers text[],
    p_ips text[], p_stored boolean, p_again boolean)
RETURNS TABLE (o_index integer, o_result integer, o_id uuid,
    o_created_at timestamptz, o_seq bigint)
LANGUAGE plpgsql
SET enable_seqscan = off SET enable_bitmapscan = off SET enable_sort = off
SET enable_hashjoin = off SET enable_mergejoin = off SET enable_material = off
SET enable_memoize = off
SET plan_cache_mode = force_generic_plan SET jit = off
AS $$
DECLARE
    base bigint := nextval('queue_seq');
    keep boolean[]; -- which to insert; NULL: all
    owners uuid[];  -- who has the key
    digests text[];
BEGIN
    RETURN QUERY SELECT 0, 0, NULL::uuid, now(), base;
    IF p_stored THEN
        IF EXISTS (SELECT FROM unnest(p_urls, p_sha256s) AS u (url, sha256)
                WHERE u.url IS NULL AND NOT EXISTS (
                    SELECT FROM binaries b WHERE b.sha256 = u.sha256)) THEN
            keep := ARRAY(
                SELECT u.url IS NOT NULL OR b.sha256 IS NOT NULL
                FROM unnest(p_urls, p_sha256s)
                    WITH ORDINALITY AS u (url, sha256, n)
                LEFT JOIN binaries b ON u.url IS NULL AND b.sha256 = u.sha256
                ORDER BY u.n);
            RETURN QUERY SELECT u.n::integer, 3, NULL::uuid, now(), 0::bigint
            FROM unnest(keep) WITH ORDINALITY AS u (keep, n) WHERE NOT u.keep;
        END IF;
    END IF;
    IF p_keys IS NOT NULL THEN
        -- The first job with a key takes it; in the order of keys, so that
        -- statements with the same keys don't wait for each other in a circle.
        INSERT INTO idempotency_keys (key, job_id, digest)
        SELECT k.key, p_ids[k.n], p_digests[k.n]
        FROM (SELECT u.key, min(u.n) AS n
            FROM unnest(p_keys) WITH ORDINALITY AS u (key, n)
            WHERE u.key IS NOT NULL AND (keep IS NULL OR keep[u.n])
            GROUP BY u.key ORDER BY u.key) k
        ON CONFLICT DO NOTHING;
        -- A new statement: it sees whoever was first.
        SELECT array_agg(k.job_id ORDER BY u.n),
            array_agg(k.digest ORDER BY u.n)
        INTO owners, digests
        FROM unnest(p_keys) WITH ORDINALITY AS u (key, n)
        LEFT JOIN idempotency_keys k ON k.key = u.key;
        IF EXISTS (
            SELECT FROM unnest(p_keys, owners)
                WITH ORDINALITY AS u (key, owner, n)
            WHERE u.key IS NOT NULL AND u.owner IS NULL
                AND (keep IS NULL OR keep[u.n])) THEN
            RAISE serialization_failure
                USING MESSAGE = 'an idempotency key was just removed';
        END IF;
        RETURN QUERY
        SELECT u.n::integer, CASE WHEN u.theirs = u.ours THEN 1 ELSE 2 END,
            u.owner, coalesce(j.created_at, now()), 0::bigint
        FROM unnest(p_ids, owners, digests, p_digests)
            WITH ORDINALITY AS u (id, owner, theirs, ours, n)
        LEFT JOIN jobs j ON j.id = u.owner
        WHERE u.owner <> u.id AND (keep IS NULL OR keep[u.n]);
        keep := ARRAY(
            SELECT (keep IS NULL OR keep[u.n]) AND coalesce(u.owner = u.id, true)
            FROM unnest(p_ids, owners) WITH ORDINALITY AS u (id, owner, n)
            ORDER BY u.n);
    END IF;
    IF p_again THEN
        RETURN QUERY
        SELECT u.n::integer, CASE WHEN j.status = 'running' AND j.attempt = 1
                AND j.executor_id = u.taker THEN 4 ELSE 5 END,
            j.id, j.created_at, 0::bigint
        FROM unnest(p_ids, p_takers) WITH ORDINALITY AS u (id, taker, n)
        JOIN jobs j ON j.id = u.id;
        keep := ARRAY(
            SELECT (keep IS NULL OR keep[u.n]) AND j.id IS NULL
            FROM unnest(p_ids) WITH ORDINALITY AS u (id, n)
            LEFT JOIN jobs j ON j.id = u.id
            ORDER BY u.n);
    END IF;
    WITH new AS (
        INSERT INTO jobs (id, seq, created_at, max_retries, demands, exclusive,
            type, binary_url, binary_sha256, arguments, env_variables, limits,
            priority, status, attempt, executor_id, executor_ip, started_at,
            last_heartbeat)
        SELECT u.id, base + u.n, now(), u.max_retries, u.demands, u.exclusive,
            u.type, u.url, u.sha256, u.arguments::json, u.environment::json,
            u.limits, u.priority,
            CASE WHEN u.taker IS NULL THEN 'pending' ELSE 'running' END,
            CASE WHEN u.taker IS NULL THEN 0 ELSE 1 END, u.taker, u.ip,
            CASE WHEN u.taker IS NOT NULL THEN now() END,
            CASE WHEN u.taker IS NOT NULL THEN now() END
        FROM (SELECT unnest(p_ids) AS id, unnest(p_types) AS type,
                unnest(p_urls) AS url, unnest(p_sha256s) AS sha256,
                unnest(p_arguments) AS arguments,
                unnest(p_environments) AS environment,
                unnest(p_priorities) AS priority,
                unnest(p_exclusive) AS exclusive,
                unnest(p_max_retries) AS max_retries,
                unnest(p_demands) AS demands, unnest(p_limits) AS limits,
                unnest(p_takers) AS taker, unnest(p_ips) AS ip,
                generate_series(1, cardinality(p_ids)) AS n) u
        WHERE keep IS NULL OR keep[u.n]
        RETURNING id, seq, type, priority, demands, executor_id
    ), queued AS (
        INSERT INTO queue (priority, seq, job_id, type, demands)
        SELECT executr_priority_number(priority), seq, id, type, demands
        FROM new WHERE executor_id IS NULL
    ), listed AS (
        INSERT INTO claims (executor_id, job_ids, claimed_at)
        SELECT t.taker, array_agg(p_ids[t.n]), now()
        FROM unnest(p_takers) WITH ORDINALITY AS t (taker, n)
        WHERE t.taker IS NOT NULL AND (keep IS NULL OR keep[t.n])
        GROUP BY t.taker
    )
    INSERT INTO job_counts (foreground, background, best_effort, running)
    SELECT count(*) FILTER (WHERE executor_id IS NULL
            AND priority = 'foreground'),
        count(*) FILTER (WHERE executor_id IS NULL
            AND priority = 'background'),
        count(*) FILTER (WHERE executor_id IS NULL
            AND priority = 'best_effort'),
        count(executor_id)
    FROM new HAVING count(*) > 0;
END
$$;

-- Claim for several requests with one filter. p_slots has an entry for each
-- job wanted: the request (position in p_executors) that gets it. p_floors has
-- for each priority where to start to look, NULL where it is not wanted.
CREATE FUNCTION executr_claim(
    p_executors text[], p_ips text[], p_slots integer[], p_floors bigint[],
    p_types text[], p_offers integer)
RETURNS SETOF executr_claimed_row
LANGUAGE plpgsql
SET enable_seqscan = off SET enable_bitmapscan = off SET enable_sort = off
SET enable_hashjoin = off SET enable_mergejoin = off SET enable_material = off
SET enable_memoize = off
SET plan_cache_mode = force_generic_plan SET jit = off
AS $$
DECLARE
    slots integer[] := p_slots; -- those still to be served
    wanted integer;
    ids uuid[]; -- taken out of the queue just now
    took integer;
    by_priority bigint[]; -- how many of them
    ends bigint[];        -- of each priority that was looked through
    mark executr_claimed_row;
    words CONSTANT text[] := '{foreground,background,best_effort}';
    ran integer;
    missed integer[];
BEGIN
    LOOP
        wanted := cardinality(slots);
        WITH seen AS (
            -- A sign of life, written once a second at most.
            INSERT INTO executors (executor_id, executor_ip, first_seen,
                last_heartbeat)
            SELECT u.id, max(u.ip), now(), now()
            FROM unnest(p_executors, p_ips) AS u (id, ip)
            WHERE NOT EXISTS (
                SELECT FROM executors e WHERE e.executor_id = u.id
                    AND e.last_heartbeat > now() - interval '1 second')
            GROUP BY u.id ORDER BY u.id
            ON CONFLICT (executor_id) DO UPDATE SET
                last_heartbeat = greatest(
                    executors.last_heartbeat, excluded.last_heartbeat),
                executor_ip = excluded.executor_ip
            RETURNING 1
        ), picked AS MATERIALIZED (
            -- One priority after the other, none further than it has to. The
            -- limit makes all this wait for `seen`: executors are locked first.
            SELECT * FROM (
                SELECT * FROM (
                    SELECT 1 AS p, q.ctid AS place, q.job_id FROM queue q
                    WHERE q.priority = 1 AND q.seq >= p_floors[1]
                        AND (p_types IS NULL OR q.type = ANY (p_types))
                        AND q.demands & ~p_offers = 0
                    ORDER BY q.seq FOR UPDATE SKIP LOCKED) f
                UNION ALL
                SELECT * FROM (
                    SELECT 2 AS p, q.ctid AS place, q.job_id FROM queue q
                    WHERE q.priority = 2 AND q.seq >= p_floors[2]
                        AND (p_types IS NULL OR q.type = ANY (p_types))
                        AND q.demands & ~p_offers = 0
                    ORDER BY q.seq FOR UPDATE SKIP LOCKED) b
                UNION ALL
                SELECT * FROM (
                    SELECT 3 AS p, q.ctid AS place, q.job_id FROM queue q
                    WHERE q.priority = 3 AND q.seq >= p_floors[3]
                        AND (p_types IS NULL OR q.type = ANY (p_types))
                        AND q.demands & ~p_offers = 0
                    ORDER BY q.seq FOR UPDATE SKIP LOCKED) e
            ) q LIMIT (SELECT wanted + 0 * count(*) FROM seen)
        ), taken AS (
            DELETE FROM queue
            WHERE ctid = ANY (ARRAY(SELECT place FROM picked))
        )
        SELECT t.ids, t.took, t.by_priority, ARRAY(
            SELECT CASE WHEN t.took < wanted OR w.p < t.last THEN (
                SELECT q.seq FROM queue q
                WHERE q.priority = w.p AND q.seq >= p_floors[w.p]
                ORDER BY q.seq DESC LIMIT 1) END
            FROM unnest('{1,2,3}'::smallint[]) AS w (p))
        INTO ids, took, by_priority, ends
        FROM (SELECT array_agg(job_id) AS ids, count(*) AS took,
                max(p) AS last, ARRAY[count(*) FILTER (WHERE p = 1),
                    count(*) FILTER (WHERE p = 2),
                    count(*) FILTER (WHERE p = 3)] AS by_priority
            FROM picked) t;
        FOR p IN 1..3 LOOP
            CONTINUE WHEN ends[p] IS NULL;
            mark.slot := 0;
            mark.seq := ends[p];
            mark.priority := words[p];
            RETURN NEXT mark;
        END LOOP;
        EXIT WHEN took = 0;
        RETURN QUERY
        WITH listed AS (
            INSERT INTO claims (executor_id, job_ids, claimed_at)
            SELECT p_executors[u.slot], array_agg(u.id), now()
            FROM (SELECT unnest(ids) AS id, unnest(slots[:took]) AS slot) u
            GROUP BY u.slot
        ), counted AS (
            INSERT INTO job_counts (foreground, background, best_effort,
                running)
            VALUES (-by_priority[1], -by_priority[2], -by_priority[3], took)
        )
        UPDATE jobs j SET status = 'running', attempt = j.attempt + 1,
            executor_id = p_executors[slots[u.k]],
            executor_ip = p_ips[slots[u.k]], started_at = now(),
            last_heartbeat = now(), retry_after = NULL
        FROM unnest(ids) WITH ORDINALITY AS u (id, k)
        WHERE j.id = u.id AND j.status = 'pending'
        RETURNING slots[u.k], j.id, j.seq, j.type, j.priority, j.attempt,
            j.created_at, j.started_at, j.max_retries, j.retry_count,
            j.exclusive, j.exit_code, j.signal, j.outcome, j.error_message,
            j.binary_url, j.binary_sha256, j.arguments, j.env_variables,
            j.limits;
        GET DIAGNOSTICS ran = ROW_COUNT;
        EXIT WHEN ran = took;
        -- Not pending, whatever the queue said.
        missed := ARRAY(
            SELECT u.k FROM unnest(ids) WITH ORDINALITY AS u (id, k)
            LEFT JOIN jobs j ON j.id = u.id
            WHERE j.xmin IS DISTINCT FROM pg_current_xact_id()::xid
            ORDER BY u.k);
        PERFORM executr_adopt(
            ARRAY(SELECT ids[u.k] FROM unnest(missed) AS u (k)));
        EXIT WHEN took < wanted;
        slots := ARRAY(SELECT slots[u.k] FROM unnest(missed) AS u (k));
    END LOOP;
END
$$;

-- Cancel jobs; ids in increasing order. o_result: 0 cancelled, 1 runs and was
-- told to stop, 2 over already, 3 unknown.
CREATE FUNCTION executr_cancel(p_ids uuid[])
RETURNS TABLE (o_index integer, o_result integer, o_priority text, o_type text)
LANGUAGE plpgsql
SET enable_seqscan = off SET enable_bitmapscan = off SET enable_sort = off
SET enable_hashjoin = off SET enable_mergejoin = off SET enable_material = off
SET enable_memoize = off
SET plan_cache_mode = force_generic_plan SET jit = off
AS $$
DECLARE
    queued uuid[]; -- out of the queue table now, by us
    late uuid[];   -- of them: started by hand, past the queue
BEGIN
    -- Queue rows first, waiting for claims that have them: a claim holds its
    -- queue rows before it asks for jobs, and never waits for a queue row.
    WITH places AS MATERIALIZED (
        SELECT q.ctid AS place, q.job_id
        FROM (SELECT executr_priority_number(j.priority) AS priority, j.seq
            FROM jobs j WHERE j.id = ANY (p_ids) AND j.status = 'pending'
            ORDER BY 1, 2) k
        JOIN queue q ON q.priority = k.priority AND q.seq = k.seq
        FOR UPDATE OF q
    ), taken AS (
        DELETE FROM queue WHERE ctid = ANY (ARRAY(SELECT place FROM places))
    )
    SELECT coalesce(array_agg(job_id), '{}') INTO queued FROM places;
    PERFORM FROM jobs WHERE id = ANY (p_ids) ORDER BY id FOR UPDATE;
    -- From here on nothing about these jobs changes.
    DELETE FROM waiting WHERE job_id = ANY (ARRAY(
        SELECT id FROM jobs WHERE id = ANY (p_ids) AND status = 'pending'));
    IF EXISTS (
        SELECT FROM jobs j JOIN queue q
            ON q.priority = executr_priority_number(j.priority)
            AND q.seq = j.seq
        WHERE j.id = ANY (p_ids) AND j.status = 'pending') THEN
        -- Came back to the queue between the first two statements.
        RAISE serialization_failure USING MESSAGE = 'a job moved on';
    END IF;
    late := ARRAY(
        SELECT id FROM jobs WHERE id = ANY (queued) AND status <> 'pending');
    IF cardinality(late) > 0 THEN
        PERFORM executr_adopt(late);
        INSERT INTO job_counts (foreground, background, best_effort, running)
        SELECT -count(*) FILTER (WHERE priority = 'foreground'),
            -count(*) FILTER (WHERE priority = 'background'),
            -count(*) FILTER (WHERE priority = 'best_effort'), count(*)
        FROM jobs WHERE id = ANY (late);
    END IF;
    RETURN QUERY
    SELECT u.n::integer, CASE WHEN j.id IS NULL THEN 3
            WHEN j.status = 'pending' THEN 0 WHEN j.status = 'running' THEN 1
            ELSE 2 END, j.priority, j.type
    FROM unnest(p_ids) WITH ORDINALITY AS u (id, n)
    LEFT JOIN jobs j ON j.id = u.id;
    WITH cancelled AS (
        UPDATE jobs SET status = 'cancelled', completed_at = now(),
            retry_after = NULL
        WHERE id = ANY (p_ids) AND status = 'pending' RETURNING priority
    )
    INSERT INTO job_counts (foreground, background, best_effort, cancelled)
    SELECT -count(*) FILTER (WHERE priority = 'foreground'),
        -count(*) FILTER (WHERE priority = 'background'),
        -count(*) FILTER (WHERE priority = 'best_effort'), count(*)
    FROM cancelled HAVING count(*) > 0;
    UPDATE jobs SET cancel_requested = true
    WHERE id = ANY (p_ids) AND status = 'running' AND NOT cancel_requested;
END
$$;

-- Put a failed or cancelled job back. 0 done, 2 in another state, 3 unknown.
CREATE FUNCTION executr_retry(p_id uuid) RETURNS integer
LANGUAGE plpgsql
SET enable_seqscan = off SET enable_bitmapscan = off SET enable_sort = off
SET enable_hashjoin = off SET enable_mergejoin = off SET enable_material = off
SET enable_memoize = off
SET plan_cache_mode = force_generic_plan SET jit = off
AS $$
DECLARE
    old jobs%ROWTYPE;
BEGIN
    SELECT * INTO old FROM jobs WHERE id = p_id FOR UPDATE;
    IF old.id IS NULL THEN
        RETURN 3;
    ELSIF old.status NOT IN ('failed', 'cancelled') THEN
        RETURN 2;
    END IF;
    UPDATE jobs SET status = 'pending', retry_count = 0, lost_count = 0,
        cancel_requested = false, executor_id = NULL, executor_ip = NULL,
        started_at = NULL, last_heartbeat = NULL, completed_at = NULL,
        retry_after = NULL, exit_code = NULL, signal = NULL, outcome = NULL,
        error_message = NULL
    WHERE id = p_id;
    PERFORM executr_enqueue(ARRAY[p_id]);
    INSERT INTO job_counts (foreground, background, best_effort, failed,
        cancelled)
    VALUES ((old.priority = 'foreground')::int,
        (old.priority = 'background')::int,
        (old.priority = 'best_effort')::int,
        -(old.status = 'failed')::int, -(old.status = 'cancelled')::int);
    RETURN 0;
END
$$;
