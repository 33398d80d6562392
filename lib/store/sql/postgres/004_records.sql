-- SPDX-License-Identifier: MIT
-- Reading jobs and executors, and deleting what is old.
-- The SET clauses are explained in 002_queue.sql.

-- Pending and running jobs, if they are few; NULL if there are more than
-- p_most: then they are found faster among all jobs.
CREATE FUNCTION executr_open_jobs(p_most integer) RETURNS uuid[]
LANGUAGE plpgsql STABLE
SET enable_seqscan = off SET enable_bitmapscan = off SET jit = off
AS $$
DECLARE
    ids uuid[];
BEGIN
    ids := ARRAY(SELECT job_id FROM queue LIMIT p_most + 1)
        || ARRAY(SELECT job_id FROM waiting LIMIT p_most + 1)
        || ARRAY(SELECT u.id FROM claims c, unnest(c.job_ids) AS u (id)
            LIMIT p_most + 1);
    RETURN CASE WHEN cardinality(ids) <= p_most THEN ids END;
END
$$;

-- The row a reader gets; a macro rather than a call, the planner inlines it.
-- The heartbeat of a running job is its own or that of its whole executor,
-- whichever is later.
CREATE FUNCTION executr_row(j jobs, p_leases_at timestamptz)
RETURNS SETOF executr_job_row LANGUAGE sql STABLE ROWS 1 AS $$
    SELECT 0, j.id, j.seq, j.type, j.priority, j.attempt, j.created_at,
        j.started_at, j.max_retries, j.retry_count, j.exclusive, j.exit_code,
        j.signal, j.outcome, j.error_message, j.binary_url, j.binary_sha256,
        j.arguments, j.env_variables, j.limits, j.status, j.executor_id,
        j.executor_ip,
        CASE WHEN j.status = 'running'
            THEN greatest(j.last_heartbeat, p_leases_at)
            ELSE j.last_heartbeat END,
        j.completed_at, j.retry_after,
        NULL::bytea, NULL::bytea, NULL::double precision,
        NULL::double precision, NULL::double precision, NULL::bigint
$$;

-- One job (slot 0), with the output of its last attempt that ended (p_parts
-- has bit 1), and its attempts that ended (bit 2; slot 1), oldest first.
CREATE FUNCTION executr_get(p_id uuid, p_parts integer)
RETURNS SETOF executr_job_row
LANGUAGE plpgsql STABLE
SET enable_seqscan = off SET enable_bitmapscan = off SET jit = off
SET plan_cache_mode = force_generic_plan
AS $$
DECLARE
    r executr_job_row;
BEGIN
    SELECT x.* INTO r
    FROM jobs j LEFT JOIN executors e ON e.executor_id = j.executor_id
    CROSS JOIN LATERAL executr_row(j, e.leases_at) x
    WHERE j.id = p_id;
    IF r.id IS NULL THEN
        RETURN;
    END IF;
    IF p_parts & 1 <> 0 THEN
        SELECT a.stdout, a.stderr INTO r.stdout, r.stderr
        FROM job_attempts a WHERE a.job_id = p_id
        ORDER BY a.job_id DESC, a.attempt DESC LIMIT 1;
    END IF;
    RETURN NEXT r;
    IF p_parts & 2 = 0 THEN
        RETURN;
    END IF;
    RETURN QUERY
    SELECT 1, a.job_id, NULL::bigint, NULL, NULL, a.attempt,
        NULL::timestamptz, a.started_at, NULL::integer, NULL::integer,
        NULL::boolean, a.exit_code, a.signal, a.outcome, a.error_message,
        NULL, NULL, NULL::json, NULL::json, NULL, a.status, a.executor_id,
        a.executor_ip, NULL::timestamptz, a.ended_at, NULL::timestamptz,
        NULL::bytea, NULL::bytea, a.user_seconds, a.system_seconds,
        a.wall_seconds, a.max_rss_bytes
    FROM job_attempts a WHERE a.job_id = p_id
    ORDER BY a.job_id, a.attempt;
END
$$;

-- Jobs, newest first; NULL is any. Walks the key backwards from p_before.
CREATE FUNCTION executr_list(
    p_status text, p_priority text, p_type text, p_executor text,
    p_before uuid, p_offset bigint, p_limit integer)
RETURNS SETOF executr_job_row
LANGUAGE plpgsql STABLE
SET enable_seqscan = off SET enable_bitmapscan = off SET enable_sort = off
SET enable_hashjoin = off SET enable_mergejoin = off SET enable_material = off
SET enable_memoize = off
SET plan_cache_mode = force_generic_plan SET jit = off
AS $$
DECLARE
    few uuid[];
    ids uuid[];
    bound uuid := coalesce(p_before, 'ffffffff-ffff-ffff-ffff-ffffffffffff');
BEGIN
    IF p_status IN ('pending', 'running') THEN
        few := executr_open_jobs(5000);
    END IF;
    IF few IS NULL THEN
        ids := ARRAY(
            SELECT id FROM jobs
            WHERE id < bound AND (p_status IS NULL OR status = p_status)
                AND (p_priority IS NULL OR priority = p_priority)
                AND (p_type IS NULL OR type = p_type)
                AND (p_executor IS NULL OR executor_id = p_executor)
            ORDER BY id DESC OFFSET p_offset LIMIT p_limit);
    ELSE
        ids := ARRAY(
            SELECT id FROM jobs
            WHERE id = ANY (few) AND id < bound AND status = p_status
                AND (p_priority IS NULL OR priority = p_priority)
                AND (p_type IS NULL OR type = p_type)
                AND (p_executor IS NULL OR executor_id = p_executor)
            ORDER BY id DESC OFFSET p_offset LIMIT p_limit);
    END IF;
    RETURN QUERY
    SELECT x.* FROM unnest(ids) WITH ORDINALITY AS u (id, n)
    JOIN jobs j ON j.id = u.id
    LEFT JOIN executors e ON e.executor_id = j.executor_id
    CROSS JOIN LATERAL executr_row(j, e.leases_at) x
    ORDER BY u.n;
END
$$;

-- Ids of pending and running jobs behind p_after, in order; NULL is any.
CREATE FUNCTION executr_matching(
    p_status text, p_priority text, p_type text, p_executor text, p_after uuid,
    p_limit integer)
RETURNS SETOF uuid
LANGUAGE plpgsql STABLE
SET enable_seqscan = off SET enable_bitmapscan = off SET enable_sort = off
SET plan_cache_mode = force_generic_plan SET jit = off
AS $$
DECLARE
    ids uuid[] := executr_open_jobs(5000);
BEGIN
    IF ids IS NULL THEN
        RETURN QUERY
        SELECT id FROM jobs
        WHERE id > p_after AND status IN ('pending', 'running')
            AND (p_status IS NULL OR status = p_status)
            AND (p_priority IS NULL OR priority = p_priority)
            AND (p_type IS NULL OR type = p_type)
            AND (p_executor IS NULL OR executor_id = p_executor)
        ORDER BY id LIMIT p_limit;
    ELSE
        RETURN QUERY
        SELECT id FROM jobs
        WHERE id = ANY (ids) AND id > p_after
            AND status IN ('pending', 'running')
            AND (p_status IS NULL OR status = p_status)
            AND (p_priority IS NULL OR priority = p_priority)
            AND (p_type IS NULL OR type = p_type)
            AND (p_executor IS NULL OR executor_id = p_executor)
        ORDER BY id LIMIT p_limit;
    END IF;
END
$$;

CREATE FUNCTION executr_stats(
    p_active_ms bigint, OUT o_foreground bigint, OUT o_background bigint,
    OUT o_best_effort bigint, OUT o_running bigint, OUT o_completed bigint,
    OUT o_failed bigint, OUT o_cancelled bigint, OUT o_active bigint,
    OUT o_slots bigint, OUT o_hits bigint, OUT o_misses bigint,
    OUT o_now timestamptz)
LANGUAGE sql STABLE AS $$
    SELECT c.*, e.*, now()
    FROM (SELECT coalesce(sum(foreground), 0)::bigint,
            coalesce(sum(background), 0)::bigint,
            coalesce(sum(best_effort), 0)::bigint,
            coalesce(sum(running), 0)::bigint,
            coalesce(sum(completed), 0)::bigint,
            coalesce(sum(failed), 0)::bigint,
            coalesce(sum(cancelled), 0)::bigint
        FROM job_counts) c,
        (SELECT count(*), coalesce(sum(max_jobs), 0)::bigint,
            coalesce(sum(cache_hits), 0)::bigint,
            coalesce(sum(cache_misses), 0)::bigint
        FROM executors WHERE last_heartbeat
            > now() - interval '1 millisecond' * p_active_ms) e
$$;

CREATE FUNCTION executr_executors(p_seen_ms bigint)
RETURNS TABLE (o_id text, o_ip text, o_version text, o_job_id uuid,
    o_job_type text, o_last_heartbeat timestamptz, o_max_jobs integer,
    o_running integer, o_completed bigint, o_hits bigint, o_misses bigint,
    o_bytes bigint, o_max_bytes bigint)
LANGUAGE plpgsql STABLE
SET enable_seqscan = off SET enable_bitmapscan = off SET enable_sort = off
SET enable_hashjoin = off SET enable_mergejoin = off SET enable_material = off
SET enable_memoize = off
SET plan_cache_mode = force_generic_plan SET jit = off
AS $$
BEGIN
    RETURN QUERY
    SELECT e.executor_id, e.executor_ip, e.version, r.ids[1], j.type,
        e.last_heartbeat, e.max_jobs, coalesce(cardinality(r.ids), 0),
        e.jobs_completed + coalesce(n.jobs, 0), e.cache_hits, e.cache_misses,
        e.cache_bytes, e.cache_max_bytes
    FROM executors e
    LEFT JOIN LATERAL (
        SELECT array_agg(h.o_id ORDER BY h.o_started_at DESC, h.o_id DESC)
            AS ids
        FROM executr_held(ARRAY[e.executor_id]) h) r ON true
    LEFT JOIN LATERAL (
        SELECT sum(jobs_completed)::bigint AS jobs FROM executor_counts c
        WHERE c.executor_id = e.executor_id) n ON true
    LEFT JOIN jobs j ON j.id = r.ids[1]
    WHERE e.last_heartbeat > now() - interval '1 millisecond' * p_seen_ms
    ORDER BY e.executor_id;
END
$$;

-- Delete up to p_limit jobs that were over p_retention_ms ago, looking at some
-- thousand jobs behind p_after. o_next: where to go on, NULL at the end.
CREATE FUNCTION executr_cleanup(
    p_after uuid, p_retention_ms bigint, p_limit integer,
    OUT o_deleted integer, OUT o_next uuid)
LANGUAGE plpgsql
SET enable_seqscan = off SET enable_bitmapscan = off SET enable_sort = off
SET enable_hashjoin = off SET enable_mergejoin = off SET enable_material = off
SET enable_memoize = off
SET plan_cache_mode = force_generic_plan SET jit = off
AS $$
DECLARE
    page CONSTANT integer := 20000;
    old timestamptz := now() - interval '1 millisecond' * p_retention_ms;
    ids uuid[];
    newest timestamptz;
BEGIN
    o_deleted := 0;
    IF NOT pg_try_advisory_xact_lock(812617, 2) THEN
        RETURN;
    END IF;
    ids := ARRAY(
        SELECT p.id FROM (
            SELECT id, status, completed_at FROM jobs WHERE id > p_after
            ORDER BY id LIMIT page) p
        WHERE p.status IN ('completed', 'failed', 'cancelled')
            AND p.completed_at < old
        LIMIT p_limit);
    IF cardinality(ids) = p_limit THEN
        o_next := ids[p_limit];
    ELSE
        SELECT id, created_at INTO o_next, newest FROM jobs
        WHERE id > p_after ORDER BY id OFFSET page - 1 LIMIT 1;
        IF newest > old THEN
            o_next := NULL; -- the rest was submitted later
        END IF;
    END IF;
    WITH gone AS (
        DELETE FROM jobs WHERE id = ANY (ARRAY(
            SELECT id FROM jobs WHERE id = ANY (ids)
                AND status IN ('completed', 'failed', 'cancelled')
                AND completed_at < old
            ORDER BY id FOR UPDATE SKIP LOCKED))
        RETURNING id, status
    ), counted AS (
        INSERT INTO job_counts (completed, failed, cancelled)
        SELECT -count(*) FILTER (WHERE status = 'completed'),
            -count(*) FILTER (WHERE status = 'failed'),
            -count(*) FILTER (WHERE status = 'cancelled')
        FROM gone HAVING count(*) > 0
    )
    SELECT coalesce(array_agg(id), '{}') INTO ids FROM gone;
    DELETE FROM job_attempts WHERE job_id = ANY (ids);
    DELETE FROM idempotency_keys WHERE job_id = ANY (ids);
    o_deleted := cardinality(ids);
END
$$;

-- Drop executors that nobody saw for a day, uploads that nobody went on with
-- for as long, and servers that are gone.
CREATE FUNCTION executr_sweep() RETURNS void
LANGUAGE plpgsql
SET enable_seqscan = off SET enable_bitmapscan = off SET jit = off
SET plan_cache_mode = force_generic_plan
AS $$
DECLARE
    stale uuid[];
BEGIN
    IF NOT pg_try_advisory_xact_lock(812617, 2) THEN
        RETURN;
    END IF;
    DELETE FROM executors e WHERE last_heartbeat < now() - interval '1 day'
        AND NOT EXISTS (
            SELECT FROM claims c WHERE c.executor_id = e.executor_id);
    stale := ARRAY(
        SELECT upload_id FROM binary_uploads
        WHERE touched_at < now() - interval '1 day'
        ORDER BY upload_id LIMIT 20 FOR UPDATE SKIP LOCKED);
    DELETE FROM binary_parts WHERE upload_id = ANY (stale);
    DELETE FROM binary_uploads WHERE upload_id = ANY (stale);
    DELETE FROM watchers WHERE parked_until < now() - interval '1 day';
END
$$;

-- A part of an upload; false if there is no such upload.
CREATE FUNCTION executr_binary_part(
    p_upload uuid, p_part integer, p_data bytea)
RETURNS boolean
LANGUAGE plpgsql
SET enable_seqscan = off SET enable_bitmapscan = off SET jit = off
AS $$
BEGIN
    UPDATE binary_uploads SET touched_at = now() WHERE upload_id = p_upload;
    IF NOT FOUND THEN
        RETURN false;
    END IF;
    INSERT INTO binary_parts (upload_id, part, data)
    VALUES (p_upload, p_part, p_data)
    ON CONFLICT (upload_id, part) DO UPDATE SET data = excluded.data;
    RETURN true;
END
$$;

-- The end of an upload. 0: now visible, or was made so by this very call when
-- it came before; 1: another upload of the same binary was first, and this
-- one's parts are gone; 2: no such upload.
CREATE FUNCTION executr_binary_end(
    p_upload uuid, p_sha256 text, p_bytes bigint)
RETURNS integer
LANGUAGE plpgsql
SET enable_seqscan = off SET enable_bitmapscan = off SET jit = off
AS $$
DECLARE
    first uuid;
BEGIN
    DELETE FROM binary_uploads WHERE upload_id = p_upload;
    IF FOUND THEN
        INSERT INTO binaries (sha256, bytes, upload_id)
        VALUES (p_sha256, p_bytes, p_upload) ON CONFLICT DO NOTHING;
    ELSIF NOT EXISTS (SELECT FROM binaries
        WHERE sha256 = p_sha256 AND upload_id = p_upload) THEN
        RETURN 2;
    END IF;
    SELECT upload_id INTO first FROM binaries WHERE sha256 = p_sha256;
    IF first IS DISTINCT FROM p_upload THEN
        DELETE FROM binary_parts WHERE upload_id = p_upload;
        RETURN 1;
    END IF;
    RETURN 0;
END
$$;

-- Forget an upload; one that has ended is left alone.
CREATE FUNCTION executr_binary_drop(p_upload uuid) RETURNS void
LANGUAGE plpgsql
SET enable_seqscan = off SET enable_bitmapscan = off SET jit = off
AS $$
BEGIN
    DELETE FROM binary_uploads WHERE upload_id = p_upload;
    IF FOUND THEN
        DELETE FROM binary_parts WHERE upload_id = p_upload;
    END IF;
END
$$;

-- Note that claims wait at this server, if they do; true if they do at others.
CREATE FUNCTION executr_watch(p_id uuid, p_parked boolean, p_begins boolean)
RETURNS boolean
LANGUAGE plpgsql
AS $$
BEGIN
    IF p_parked THEN
        INSERT INTO watchers (id, parked_until)
        VALUES (p_id, now() + interval '5 seconds')
        ON CONFLICT (id) DO UPDATE SET parked_until = excluded.parked_until;
    END IF;
    IF p_begins THEN
        PERFORM pg_notify('executr_jobs', 'waits');
    END IF;
    RETURN EXISTS (SELECT FROM watchers
        WHERE id <> p_id AND parked_until > now());
END
$$;
