-- SPDX-License-Identifier: MIT
-- Live output: what running jobs print, for those who follow them. None of it
-- is worth anything after a crash, hence unlogged; the tables that jobs live in
-- never see it. The SET clauses are explained in 002_queue.sql.

-- Jobs whose output somebody wants right now.
CREATE UNLOGGED TABLE live_follows (
    job_id uuid PRIMARY KEY,
    until timestamptz NOT NULL
) WITH (
    fillfactor = 50,
    autovacuum_vacuum_scale_factor = 0,
    autovacuum_vacuum_threshold = 1000,
    autovacuum_vacuum_cost_delay = 0
);

-- Pieces of their output; `next` is the first byte behind the piece. A stream
-- (1 stdout, 2 stderr) has a window of pieces, older ones are dropped.
CREATE UNLOGGED TABLE live_output (
    job_id uuid NOT NULL,
    attempt integer NOT NULL,
    stream integer NOT NULL,
    next bigint NOT NULL,
    data bytea NOT NULL,
    PRIMARY KEY (job_id, attempt, stream, next)
) WITH (
    autovacuum_vacuum_scale_factor = 0,
    autovacuum_vacuum_threshold = 500,
    autovacuum_vacuum_cost_delay = 0,
    toast.autovacuum_vacuum_scale_factor = 0,
    toast.autovacuum_vacuum_threshold = 20000,
    toast.autovacuum_vacuum_cost_delay = 0
);
ALTER TABLE live_output ALTER COLUMN data SET STORAGE EXTERNAL;

CREATE FUNCTION executr_live_follow(p_id uuid, p_ms bigint) RETURNS void
LANGUAGE sql AS $$
    INSERT INTO live_follows AS f (job_id, until)
    VALUES (p_id, now() + interval '1 millisecond' * p_ms)
    ON CONFLICT (job_id) DO UPDATE SET
        until = greatest(f.until, excluded.until)
$$;

-- executr_heartbeat with one verdict more: 5, kept and followed. While nobody
-- follows anything that costs one look at an empty table.
CREATE FUNCTION executr_heartbeat_live(
    p_executors text[], p_ips text[], p_versions text[], p_max_jobs integer[],
    p_hits bigint[], p_misses bigint[], p_bytes bigint[], p_max_bytes bigint[],
    p_release bigint[], p_owners integer[], p_ids uuid[], p_attempts integer[])
RETURNS TABLE (o_index integer, o_verdict integer)
LANGUAGE plpgsql
SET enable_seqscan = off SET enable_bitmapscan = off SET enable_sort = off
SET enable_hashjoin = off SET enable_mergejoin = off SET enable_material = off
SET enable_memoize = off
SET plan_cache_mode = force_generic_plan SET jit = off
AS $$
BEGIN
    IF NOT EXISTS (SELECT FROM live_follows) THEN
        RETURN QUERY
        SELECT h.o_index, h.o_verdict FROM executr_heartbeat(p_executors,
            p_ips, p_versions, p_max_jobs, p_hits, p_misses, p_bytes,
            p_max_bytes, p_release, p_owners, p_ids, p_attempts) h;
        RETURN;
    END IF;
    RETURN QUERY
    SELECT h.o_index, CASE WHEN h.o_verdict = 1 AND h.o_index > 0
        AND f.job_id IS NOT NULL THEN 5 ELSE h.o_verdict END
    FROM executr_heartbeat(p_executors, p_ips, p_versions, p_max_jobs, p_hits,
        p_misses, p_bytes, p_max_bytes, p_release, p_owners, p_ids,
        p_attempts) h
    LEFT JOIN live_follows f ON f.job_id = p_ids[h.o_index]
        AND f.until > now();
END
$$;

-- A piece of a running attempt's output. 0: taken; 1: nobody wants it; 2: not
-- this executor's attempt (any more); 3: no such job. What is there already is
-- not put twice. A piece from before the window begins the stream anew: its
-- executor was asked again after nobody had wanted it for a while.
CREATE FUNCTION executr_live_put(
    p_id uuid, p_executor text, p_attempt integer, p_stream integer,
    p_offset bigint, p_data bytea, p_window bigint)
RETURNS integer
LANGUAGE plpgsql
SET enable_seqscan = off SET enable_bitmapscan = off SET enable_sort = off
SET plan_cache_mode = force_generic_plan SET jit = off
AS $$
DECLARE
    behind bigint := p_offset + octet_length(p_data);
    now_on integer; -- the attempt under way
    oldest bigint;
    newest bigint;
BEGIN
    SELECT j.attempt INTO now_on FROM jobs j
    WHERE j.id = p_id AND j.status = 'running' AND j.executor_id = p_executor
        AND (p_attempt = 0 OR j.attempt = p_attempt);
    IF now_on IS NULL THEN
        RETURN CASE WHEN EXISTS (SELECT FROM jobs WHERE id = p_id)
            THEN 2 ELSE 3 END;
    END IF;
    IF NOT EXISTS (SELECT FROM live_follows
        WHERE job_id = p_id AND until > now()) THEN
        RETURN 1;
    END IF;
    SELECT next - octet_length(data) INTO oldest FROM live_output
    WHERE job_id = p_id AND attempt = now_on AND stream = p_stream
    ORDER BY job_id, attempt, stream, next LIMIT 1;
    SELECT next INTO newest FROM live_output
    WHERE job_id = p_id AND attempt = now_on AND stream = p_stream
    ORDER BY job_id DESC, attempt DESC, stream DESC, next DESC LIMIT 1;
    IF p_offset < oldest THEN
        DELETE FROM live_output WHERE job_id = p_id AND attempt = now_on
            AND stream = p_stream;
        newest := NULL;
    END IF;
    IF octet_length(p_data) > 0 AND (newest IS NULL OR behind > newest) THEN
        DELETE FROM live_output WHERE job_id = p_id AND attempt < now_on;
        DELETE FROM live_output WHERE job_id = p_id AND attempt = now_on
            AND stream = p_stream AND next <= behind - p_window;
        INSERT INTO live_output (job_id, attempt, stream, next, data)
        VALUES (p_id, now_on, p_stream, behind, p_data)
        ON CONFLICT DO NOTHING;
    END IF;
    RETURN 0;
END
$$;

-- Where a job stands (stream 0), and the next piece of an attempt's streams
-- with anything from p_from on (negative: not wanted).
CREATE FUNCTION executr_live_read(
    p_id uuid, p_attempt integer, p_from bigint[])
RETURNS TABLE (o_stream integer, o_next bigint, o_data bytea, o_status text,
    o_attempt integer)
LANGUAGE plpgsql STABLE
SET enable_seqscan = off SET enable_bitmapscan = off SET enable_sort = off
SET plan_cache_mode = force_generic_plan SET jit = off
AS $$
BEGIN
    RETURN QUERY
    SELECT 0, 0::bigint, NULL::bytea, j.status, j.attempt
    FROM jobs j WHERE j.id = p_id;
    FOR which IN 1..2 LOOP
        IF p_from[which] >= 0 THEN
            RETURN QUERY
            SELECT which, l.next, l.data, NULL::text, 0 FROM live_output l
            WHERE l.job_id = p_id AND l.attempt = p_attempt
                AND l.stream = which AND l.next > p_from[which]
            ORDER BY l.job_id, l.attempt, l.stream, l.next LIMIT 1;
        END IF;
    END LOOP;
END
$$;

-- Forget followers who are gone, and the output that was theirs.
CREATE FUNCTION executr_live_sweep() RETURNS void
LANGUAGE plpgsql
SET enable_seqscan = off SET enable_bitmapscan = off SET enable_sort = off
SET enable_hashjoin = off SET enable_mergejoin = off SET enable_material = off
SET enable_memoize = off
SET plan_cache_mode = force_generic_plan SET jit = off
AS $$
BEGIN
    IF NOT EXISTS (SELECT FROM live_follows)
        AND NOT EXISTS (SELECT FROM live_output) THEN
        RETURN;
    END IF;
    IF NOT pg_try_advisory_xact_lock(812617, 3) THEN
        RETURN;
    END IF;
    DELETE FROM live_follows WHERE until < now();
    DELETE FROM live_output l WHERE NOT EXISTS (
        SELECT FROM live_follows f WHERE f.job_id = l.job_id);
END
$$;
