-- SPDX-License-Identifier: MIT
-- Ends of attempts, heartbeats, and jobs that are taken back.
-- The SET clauses are explained in the file before this one.

-- Record ends of attempts; no id twice, ids in increasing order. p_kinds: 1
-- completed, 2 failed, 3 given back uncounted. The answer is about those that
-- were recorded; executr_fenced tells of the others. p_careful: an attempt may
-- have a record already, which stays: its job was started by hand, without an
-- attempt of its own. Otherwise that is a unique violation, because looking
-- costs as much as the rest of the insert.
CREATE FUNCTION executr_finish(
    p_ids uuid[], p_executors text[], p_attempts integer[], p_kinds integer[],
    p_outcomes text[], p_exit_codes integer[], p_signals integer[],
    p_errors text[], p_stdouts bytea[], p_stderrs bytea[],
    p_user double precision[], p_system double precision[],
    p_wall double precision[], p_rss bigint[], p_retry_ms bigint[],
    p_careful boolean)
RETURNS TABLE (o_index integer, o_result integer, o_status text,
    o_priority text, o_type text, o_started_at timestamptz,
    o_ended_at timestamptz)
LANGUAGE plpgsql
SET enable_seqscan = off SET enable_bitmapscan = off SET enable_sort = off
SET enable_hashjoin = off SET enable_mergejoin = off SET enable_material = off
SET enable_memoize = off
SET plan_cache_mode = force_generic_plan SET jit = off
AS $$
DECLARE
    back uuid[]; -- pending again
BEGIN
    -- The fence and the change are one condition on one row.
    RETURN QUERY
    WITH ended AS (
        UPDATE jobs j SET
            status = CASE WHEN u.kind = 1 THEN 'completed'
                WHEN j.cancel_requested THEN 'cancelled'
                WHEN u.kind = 3 OR j.retry_count < j.max_retries THEN 'pending'
                ELSE 'failed' END,
            completed_at = CASE WHEN u.kind = 1 OR j.cancel_requested
                OR (u.kind = 2 AND j.retry_count >= j.max_retries)
                THEN now() END,
            retry_count = j.retry_count + (u.kind = 2
                AND NOT j.cancel_requested
                AND j.retry_count < j.max_retries)::integer,
            retry_after = CASE WHEN u.kind = 2 AND NOT j.cancel_requested
                AND j.retry_count < j.max_retries
                THEN now() + interval '1 millisecond' * p_retry_ms[
                    least(j.retry_count + 1, cardinality(p_retry_ms))] END,
            lost_count = CASE WHEN u.kind = 3 THEN j.lost_count ELSE 0 END,
            exit_code = CASE WHEN u.kind = 3 THEN j.exit_code
                ELSE p_exit_codes[u.n] END,
            signal = CASE WHEN u.kind = 3 THEN j.signal
                ELSE p_signals[u.n] END,
            outcome = CASE WHEN u.kind = 3 THEN j.outcome
                ELSE p_outcomes[u.n] END,
            error_message = CASE WHEN u.kind = 3 THEN j.error_message
                ELSE p_errors[u.n] END
        FROM unnest(p_ids, p_kinds) WITH ORDINALITY AS u (id, kind, n)
        WHERE j.id = u.id AND j.status = 'running'
            AND j.executor_id = p_executors[u.n]
            AND (p_attempts[u.n] = 0 OR j.attempt = p_attempts[u.n])
        RETURNING u.n::integer AS n, j.id, j.status, j.attempt, j.executor_id,
            j.executor_ip, j.started_at, j.priority, j.type
    ), recorded AS (
        INSERT INTO job_attempts (job_id, attempt, status, executor_id,
            executor_ip, started_at, ended_at, outcome, exit_code, signal,
            error_message, user_seconds, system_seconds, wall_seconds,
            max_rss_bytes, stdout, stderr)
        SELECT e.id, e.attempt, CASE WHEN p_kinds[e.n] = 3 THEN 'released'
            WHEN e.status = 'pending' THEN 'failed' ELSE e.status END,
            e.executor_id, e.executor_ip, e.started_at, now(),
            p_outcomes[e.n], p_exit_codes[e.n], p_signals[e.n], p_errors[e.n],
            p_user[e.n], p_system[e.n], p_wall[e.n], p_rss[e.n],
            p_stdouts[e.n], p_stderrs[e.n]
        FROM ended e
        WHERE NOT p_careful OR (
            SELECT a.attempt FROM job_attempts a
            WHERE a.job_id = e.id AND a.attempt = e.attempt) IS NULL
    ), counted AS (
        INSERT INTO job_counts (foreground, background, best_effort, running,
            completed, failed, cancelled)
        SELECT count(*) FILTER (WHERE status = 'pending'
                AND priority = 'foreground'),
            count(*) FILTER (WHERE status = 'pending'
                AND priority = 'background'),
            count(*) FILTER (WHERE status = 'pending'
                AND priority = 'best_effort'),
            -count(*), count(*) FILTER (WHERE status = 'completed'),
            count(*) FILTER (WHERE status = 'failed'),
            count(*) FILTER (WHERE status = 'cancelled')
        FROM ended HAVING count(*) > 0
    ), credited AS (
        INSERT INTO executor_counts (executor_id, jobs_completed)
        SELECT executor_id, count(*) FROM ended WHERE status = 'completed'
        GROUP BY executor_id
    )
    SELECT e.n, 0, e.status, e.priority, e.type, e.started_at, now()
    FROM ended e;
    IF 1 = ALL (p_kinds) THEN
        RETURN;
    END IF;
    -- Those just put back still name their executor.
    back := ARRAY(
        SELECT id FROM jobs WHERE id = ANY (p_ids) AND status = 'pending'
            AND executor_id IS NOT NULL AND xmin = pg_current_xact_id()::xid);
    IF cardinality(back) > 0 THEN
        UPDATE jobs SET executor_id = NULL, executor_ip = NULL,
            started_at = NULL, last_heartbeat = NULL
        WHERE id = ANY (back);
        -- One that waits already was started by hand, and never counted.
        WITH waits AS (
            INSERT INTO waiting (job_id, due_at)
            SELECT id, retry_after FROM jobs
            WHERE id = ANY (back) AND retry_after IS NOT NULL
            ON CONFLICT (job_id) DO UPDATE SET due_at = excluded.due_at
            RETURNING job_id, xmax <> 0 AS waited
        )
        INSERT INTO job_counts (foreground, background, best_effort, running)
        SELECT -count(*) FILTER (WHERE j.priority = 'foreground'),
            -count(*) FILTER (WHERE j.priority = 'background'),
            -count(*) FILTER (WHERE j.priority = 'best_effort'), count(*)
        FROM waits w JOIN jobs j ON j.id = w.job_id
        WHERE w.waited HAVING count(*) > 0;
        PERFORM executr_enqueue(ARRAY(
            SELECT id FROM jobs WHERE id = ANY (back)
                AND retry_after IS NULL));
    END IF;
END
$$;

-- What became of reports that executr_finish did not record. o_result: 1 was
-- recorded before, 2 lost, 3 unknown job.
CREATE FUNCTION executr_fenced(
    p_ids uuid[], p_executors text[], p_attempts integer[], p_kinds integer[])
RETURNS TABLE (o_index integer, o_result integer, o_status text,
    o_priority text, o_type text, o_started_at timestamptz,
    o_ended_at timestamptz)
LANGUAGE plpgsql STABLE
SET enable_seqscan = off SET enable_bitmapscan = off SET enable_sort = off
SET enable_hashjoin = off SET enable_mergejoin = off SET enable_material = off
SET enable_memoize = off
SET plan_cache_mode = force_generic_plan SET jit = off
AS $$
BEGIN
    RETURN QUERY
    SELECT u.n::integer, CASE WHEN j.id IS NULL THEN 3
            WHEN a.status IS NULL THEN 2
            WHEN u.kind = 1 AND a.status = 'completed' THEN 1
            WHEN u.kind = 2 AND a.status IN ('failed', 'cancelled') THEN 1
            WHEN u.kind = 3 AND a.status = 'released' THEN 1
            ELSE 2 END,
        j.status, j.priority, j.type, a.started_at, a.ended_at
    FROM unnest(p_ids, p_executors, p_attempts, p_kinds)
        WITH ORDINALITY AS u (id, executor, attempt, kind, n)
    LEFT JOIN jobs j ON j.id = u.id
    LEFT JOIN LATERAL (
        SELECT r.status, r.started_at, r.ended_at FROM job_attempts r
        WHERE r.job_id = u.id AND r.executor_id = u.executor
            AND (u.attempt = 0 OR r.attempt = u.attempt)
        ORDER BY r.job_id DESC, r.attempt DESC LIMIT 1) a ON true;
END
$$;

-- Take running jobs back from their executors: give them back uncounted
-- (p_max_lost NULL), or as lost, if no heartbeat came since p_before. What
-- somebody else is changing right now is left alone. No id twice.
CREATE FUNCTION executr_take_back(
    p_ids uuid[], p_attempts integer[], p_before timestamptz,
    p_max_lost integer, OUT o_taken integer, OUT o_failed integer)
LANGUAGE plpgsql
SET enable_seqscan = off SET enable_bitmapscan = off SET enable_sort = off
SET enable_hashjoin = off SET enable_mergejoin = off SET enable_material = off
SET enable_memoize = off
SET plan_cache_mode = force_generic_plan SET jit = off
AS $$
DECLARE
    ids uuid[];
BEGIN
    ids := ARRAY(
        SELECT j.id FROM unnest(p_ids, p_attempts) AS u (id, attempt)
        JOIN jobs j ON j.id = u.id
        WHERE j.status = 'running' AND j.attempt = u.attempt
            AND (p_max_lost IS NULL OR j.last_heartbeat <= p_before)
        ORDER BY j.id FOR UPDATE OF j SKIP LOCKED);
    o_taken := cardinality(ids);
    o_failed := 0;
    IF o_taken = 0 THEN
        RETURN;
    END IF;
    INSERT INTO job_attempts (job_id, attempt, status, executor_id,
        executor_ip, started_at, ended_at, outcome, error_message)
    SELECT id, attempt,
        CASE WHEN p_max_lost IS NULL THEN 'released' ELSE 'timeout' END,
        executor_id, executor_ip, started_at, now(), 'lost',
        CASE WHEN p_max_lost IS NOT NULL
            THEN format('executor %s fell silent', executor_id) END
    FROM jobs WHERE id = ANY (ids)
    ON CONFLICT DO NOTHING;
    WITH fate AS MATERIALIZED (
        SELECT id, coalesce(p_max_lost > 0 AND lost_count + 1 >= p_max_lost,
            false) AS hopeless
        FROM jobs WHERE id = ANY (ids)
    ), taken AS (
        UPDATE jobs j SET
            status = CASE WHEN f.hopeless THEN 'failed'
                WHEN j.cancel_requested THEN 'cancelled' ELSE 'pending' END,
            completed_at = CASE WHEN f.hopeless OR j.cancel_requested
                THEN now() END,
            lost_count = j.lost_count + (p_max_lost IS NOT NULL)::integer,
            outcome = CASE WHEN p_max_lost IS NULL THEN j.outcome
                ELSE 'lost' END,
            exit_code = CASE WHEN p_max_lost IS NULL THEN j.exit_code END,
            signal = CASE WHEN p_max_lost IS NULL THEN j.signal END,
            error_message = CASE WHEN p_max_lost IS NULL
                THEN j.error_message
                WHEN f.hopeless
                THEN format('gave up after %s attempts in a row were lost '
                    '(executors fell silent while running it)',
                    j.lost_count + 1)
                ELSE format('executor %s fell silent', j.executor_id) END
        FROM fate f WHERE j.id = f.id
        RETURNING j.status, j.priority
    ), counted AS (
        INSERT INTO job_counts (foreground, background, best_effort, running,
            failed, cancelled)
        SELECT count(*) FILTER (WHERE status = 'pending'
                AND priority = 'foreground'),
            count(*) FILTER (WHERE status = 'pending'
                AND priority = 'background'),
            count(*) FILTER (WHERE status = 'pending'
                AND priority = 'best_effort'),
            -count(*), count(*) FILTER (WHERE status = 'failed'),
            count(*) FILTER (WHERE status = 'cancelled')
        FROM taken
    )
    SELECT count(*) FILTER (WHERE status = 'failed') INTO o_failed FROM taken;
    ids := ARRAY(SELECT id FROM jobs WHERE id = ANY (ids)
        AND status = 'pending');
    UPDATE jobs SET executor_id = NULL, executor_ip = NULL, started_at = NULL,
        last_heartbeat = NULL
    WHERE id = ANY (ids);
    PERFORM executr_enqueue(ids);
END
$$;

-- The running jobs among what these executors claimed, each once.
CREATE FUNCTION executr_held(p_executors text[])
RETURNS TABLE (o_executor_id text, o_id uuid, o_attempt integer,
    o_started_at timestamptz)
LANGUAGE plpgsql STABLE
SET enable_seqscan = off SET enable_bitmapscan = off SET enable_sort = off
SET enable_hashjoin = off SET enable_mergejoin = off SET enable_material = off
SET enable_memoize = off
SET plan_cache_mode = force_generic_plan SET jit = off
AS $$
BEGIN
    RETURN QUERY
    SELECT DISTINCT j.executor_id, j.id, j.attempt, j.started_at
    FROM claims c CROSS JOIN unnest(c.job_ids) AS u (id)
    JOIN jobs j ON j.id = u.id
    WHERE c.executor_id = ANY (p_executors) AND j.status = 'running'
        AND j.executor_id = c.executor_id;
END
$$;

-- The same for claims before p_before, dropping on the way what is over: whole
-- rows of claims, and from rows that are mostly over.
CREATE FUNCTION executr_prune_claims(
    p_executors text[], p_before timestamptz)
RETURNS TABLE (o_executor_id text, o_id uuid, o_attempt integer,
    o_started_at timestamptz)
LANGUAGE plpgsql
SET enable_seqscan = off SET enable_bitmapscan = off SET enable_sort = off
SET enable_hashjoin = off SET enable_mergejoin = off SET enable_material = off
SET enable_memoize = off
SET plan_cache_mode = force_generic_plan SET jit = off
AS $$
BEGIN
    RETURN QUERY
    WITH named AS MATERIALIZED (
        SELECT c.ctid AS place, u.id AS named, j.executor_id, j.id, j.attempt,
            j.started_at
        FROM claims c CROSS JOIN unnest(c.job_ids) AS u (id)
        LEFT JOIN jobs j ON j.id = u.id AND j.status = 'running'
            AND j.executor_id = c.executor_id
        WHERE c.executor_id = ANY (p_executors) AND c.claimed_at <= p_before
    ), held AS MATERIALIZED (
        SELECT n.place, count(*) AS named, count(n.id) AS running,
            array_agg(n.id) FILTER (WHERE n.id IS NOT NULL) AS ids
        FROM named n GROUP BY n.place
    ), pruned AS (
        DELETE FROM claims WHERE ctid = ANY (ARRAY(
            SELECT place FROM held WHERE running = 0))
    ), shrunk AS (
        UPDATE claims c SET job_ids = h.ids
        FROM held h
        WHERE c.ctid = h.place AND h.running * 2 <= h.named AND h.running > 0
    )
    SELECT DISTINCT n.executor_id, n.id, n.attempt, n.started_at
    FROM named n WHERE n.id IS NOT NULL;
END
$$;

-- Heartbeats of executors, no executor twice, in increasing order. p_release:
-- a lease this old (ms) that is not named goes back; -1: the heartbeat speaks
-- of the named jobs only. Leases: position of the executor, job, attempt.
-- The answer: the verdict of each lease (1 kept, 2 cancel, 3 lost, 4 unknown),
-- and with o_index 0 how many jobs went back.
CREATE FUNCTION executr_heartbeat(
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
DECLARE
    whole text[];
    oldest timestamptz; -- claims since then are left alone
    lost uuid[];
    attempts integer[];
BEGIN
    -- The row of an executor is locked before its leases are judged, and
    -- before upkeep takes any away: a lease that is kept here was not lost in
    -- between.
    INSERT INTO executors AS e (executor_id, executor_ip, version, max_jobs,
        first_seen, last_heartbeat, leases_at, cache_hits, cache_misses,
        cache_bytes, cache_max_bytes)
    SELECT u.id, coalesce(u.ip, ''), u.version, u.max_jobs, now(), now(),
        now(), u.hits, u.misses, u.bytes, u.max_bytes
    FROM unnest(p_executors, p_ips, p_versions, p_max_jobs, p_hits, p_misses,
        p_bytes, p_max_bytes, p_release)
        AS u (id, ip, version, max_jobs, hits, misses, bytes, max_bytes,
            release)
    WHERE u.release >= 0
    ON CONFLICT (executor_id) DO UPDATE SET
        executor_ip = CASE WHEN excluded.executor_ip <> ''
            THEN excluded.executor_ip ELSE e.executor_ip END,
        version = excluded.version, max_jobs = excluded.max_jobs,
        last_heartbeat = greatest(e.last_heartbeat, excluded.last_heartbeat),
        leases_at = greatest(e.leases_at, excluded.leases_at),
        cache_hits = excluded.cache_hits,
        cache_misses = excluded.cache_misses,
        cache_bytes = excluded.cache_bytes,
        cache_max_bytes = excluded.cache_max_bytes;
    whole := ARRAY(
        SELECT u.id FROM unnest(p_executors, p_release) AS u (id, release)
        WHERE u.release >= 0);
    IF cardinality(whole) < cardinality(p_executors) THEN
        UPDATE executors e SET last_heartbeat = now()
        FROM unnest(p_executors, p_release) AS u (id, release)
        WHERE e.executor_id = u.id AND u.release < 0
            AND e.last_heartbeat < now() - interval '1 second';
        UPDATE jobs j SET last_heartbeat = now()
        FROM unnest(p_owners, p_ids, p_attempts) AS u (owner, id, attempt)
        WHERE p_release[u.owner] < 0 AND j.id = u.id AND j.status = 'running'
            AND j.executor_id = p_executors[u.owner]
            AND (u.attempt = 0 OR j.attempt = u.attempt);
    END IF;
    RETURN QUERY
    SELECT u.n::integer, CASE WHEN j.id IS NULL THEN 4
            WHEN j.status <> 'running'
                OR j.executor_id IS DISTINCT FROM p_executors[u.owner]
                OR (u.attempt <> 0 AND j.attempt <> u.attempt) THEN 3
            WHEN j.cancel_requested THEN 2 ELSE 1 END
    FROM unnest(p_owners, p_ids, p_attempts)
        WITH ORDINALITY AS u (owner, id, attempt, n)
    LEFT JOIN jobs j ON j.id = u.id;
    IF cardinality(whole) = 0 THEN
        RETURN;
    END IF;
    oldest := now() - interval '1 millisecond' * (
        SELECT min(r) FROM unnest(p_release) AS r WHERE r >= 0);
    -- A set difference, because it is done by hashing; joins here are not.
    SELECT array_agg(x.id), array_agg(x.attempt) INTO lost, attempts
    FROM (SELECT h.o_executor_id, h.o_id, h.o_attempt
        FROM executr_prune_claims(whole, oldest) h
        JOIN unnest(p_executors, p_release) AS e (id, release)
            ON e.id = h.o_executor_id
        WHERE h.o_started_at <= now() - interval '1 millisecond' * e.release
        EXCEPT
        SELECT p_executors[u.owner], u.id,
            CASE WHEN u.attempt = 0 THEN j.attempt ELSE u.attempt END
        FROM unnest(p_owners, p_ids, p_attempts) AS u (owner, id, attempt)
        LEFT JOIN jobs j ON u.attempt = 0 AND j.id = u.id
    ) AS x (executor, id, attempt);
    IF lost IS NOT NULL THEN
        RETURN QUERY SELECT 0, t.o_taken
        FROM executr_take_back(lost, attempts, now(), NULL) t;
    END IF;
END
$$;

-- An executor leaves; the number of jobs that went back.
CREATE FUNCTION executr_goodbye(p_executor text) RETURNS integer
LANGUAGE plpgsql
SET enable_seqscan = off SET enable_bitmapscan = off SET enable_sort = off
SET enable_hashjoin = off SET enable_mergejoin = off SET enable_material = off
SET enable_memoize = off
SET plan_cache_mode = force_generic_plan SET jit = off
AS $$
DECLARE
    ids uuid[];
    attempts integer[];
    taken integer := 0;
BEGIN
    PERFORM FROM executors WHERE executor_id = p_executor FOR UPDATE;
    SELECT array_agg(o_id), array_agg(o_attempt) INTO ids, attempts
    FROM executr_held(ARRAY[p_executor]);
    IF ids IS NOT NULL THEN
        taken := (SELECT t.o_taken
            FROM executr_take_back(ids, attempts, now(), NULL) t);
    END IF;
    PERFORM executr_prune_claims(ARRAY[p_executor], now());
    DELETE FROM executors WHERE executor_id = p_executor;
    RETURN taken;
END
$$;

-- A round of upkeep, by one server at a time: others find nothing done.
-- o_lowest: the lowest place in the queue; NULL: it is empty.
CREATE FUNCTION executr_upkeep(
    p_reap boolean, p_timeout_ms bigint, p_max_lost integer,
    OUT o_recovered integer, OUT o_failed integer, OUT o_due integer,
    OUT o_lowest bigint, OUT o_more boolean)
LANGUAGE plpgsql
SET enable_seqscan = off SET enable_bitmapscan = off SET enable_sort = off
SET enable_hashjoin = off SET enable_mergejoin = off SET enable_material = off
SET enable_memoize = off
SET plan_cache_mode = force_generic_plan SET jit = off
AS $$
DECLARE
    round_limit CONSTANT integer := 1000;
    silent_since timestamptz := now() - interval '1 millisecond' * p_timeout_ms;
    due uuid[];
BEGIN
    o_recovered := 0;
    o_failed := 0;
    o_due := 0;
    o_more := false;
    IF pg_try_advisory_xact_lock(812617, 1) THEN
        PERFORM executr_fold_counts();
        due := ARRAY(SELECT job_id FROM waiting WHERE due_at <= now()
            ORDER BY due_at LIMIT round_limit);
        IF cardinality(due) > 0 THEN
            o_due := executr_end_wait(due);
            o_more := cardinality(due) = round_limit;
        END IF;
        IF p_reap THEN
            SELECT r.o_recovered, r.o_failed INTO o_recovered, o_failed
            FROM executr_reap(silent_since, p_max_lost, round_limit) r;
            o_more := o_more OR o_recovered = round_limit;
        END IF;
    END IF;
    SELECT min(q.seq) INTO o_lowest FROM generate_series(1, 3) p, LATERAL (
        SELECT seq FROM queue WHERE priority = p::smallint
        ORDER BY seq LIMIT 1) q;
END
$$;

-- Take jobs back from executors which are silent since p_since.
CREATE FUNCTION executr_reap(
    p_since timestamptz, p_max_lost integer, p_limit integer,
    OUT o_recovered integer, OUT o_failed integer)
LANGUAGE plpgsql
SET enable_seqscan = off SET enable_bitmapscan = off SET enable_sort = off
SET enable_hashjoin = off SET enable_mergejoin = off SET enable_material = off
SET enable_memoize = off
SET plan_cache_mode = force_generic_plan SET jit = off
AS $$
DECLARE
    holders text[]; -- may have jobs that nobody keeps alive
    ids uuid[];
    attempts integer[];
BEGIN
    o_recovered := 0;
    o_failed := 0;
    holders := ARRAY(
        SELECT h.executor_id
        FROM (SELECT DISTINCT executor_id FROM claims OFFSET 0) h
        LEFT JOIN executors e ON e.executor_id = h.executor_id
        WHERE e.leases_at IS NULL OR e.leases_at <= p_since);
    IF cardinality(holders) = 0 THEN
        RETURN;
    END IF;
    -- Those not heard of alone either.
    SELECT array_agg(h.o_id), array_agg(h.o_attempt),
        array_agg(DISTINCT h.o_executor_id)
    INTO ids, attempts, holders
    FROM (SELECT p.o_id, p.o_attempt, p.o_executor_id
        FROM executr_prune_claims(holders, now()) p
        JOIN jobs j ON j.id = p.o_id AND j.last_heartbeat <= p_since
        LIMIT p_limit) h;
    IF ids IS NULL THEN
        RETURN;
    END IF;
    -- See executr_heartbeat about this lock. An executor of which nothing is
    -- known has jobs that were started by hand.
    holders := ARRAY(
        SELECT executor_id FROM executors
        WHERE executor_id = ANY (holders)
            AND (leases_at IS NULL OR leases_at <= p_since)
        ORDER BY executor_id FOR UPDATE SKIP LOCKED)
        || ARRAY(SELECT h.id FROM unnest(holders) AS h (id)
        LEFT JOIN executors e ON e.executor_id = h.id
        WHERE e.executor_id IS NULL);
    SELECT coalesce(array_agg(u.id), '{}'), coalesce(array_agg(u.attempt), '{}')
    INTO ids, attempts
    FROM unnest(ids, attempts) AS u (id, attempt)
    JOIN jobs j ON j.id = u.id AND j.executor_id = ANY (holders);
    SELECT t.o_taken, t.o_failed INTO o_recovered, o_failed
    FROM executr_take_back(ids, attempts, p_since, p_max_lost) t;
END
$$;

-- Retries that fell due go to the queue table.
CREATE FUNCTION executr_end_wait(p_ids uuid[]) RETURNS integer
LANGUAGE plpgsql
SET enable_seqscan = off SET enable_bitmapscan = off SET enable_sort = off
SET enable_hashjoin = off SET enable_mergejoin = off SET enable_material = off
SET enable_memoize = off
SET plan_cache_mode = force_generic_plan SET jit = off
AS $$
DECLARE
    ids uuid[];
    started uuid[];
BEGIN
    ids := ARRAY(
        SELECT id FROM jobs WHERE id = ANY (p_ids) AND status = 'pending'
        ORDER BY id FOR UPDATE SKIP LOCKED);
    WITH gone AS (
        DELETE FROM waiting WHERE job_id = ANY (ids) RETURNING job_id
    )
    SELECT coalesce(array_agg(job_id), '{}') INTO ids FROM gone;
    PERFORM executr_enqueue(ids);
    -- The others that don't wait any more were started by hand: from now on
    -- they count as started, and those that no claim lists have to be watched.
    WITH gone AS (
        DELETE FROM waiting w WHERE w.job_id = ANY (p_ids) AND NOT EXISTS (
            SELECT FROM jobs j WHERE j.id = w.job_id AND j.status = 'pending')
        RETURNING job_id
    )
    SELECT array_agg(job_id) INTO started FROM gone;
    IF started IS NOT NULL THEN
        INSERT INTO job_counts (foreground, background, best_effort, running)
        SELECT -count(*) FILTER (WHERE priority = 'foreground'),
            -count(*) FILTER (WHERE priority = 'background'),
            -count(*) FILTER (WHERE priority = 'best_effort'), count(*)
        FROM jobs WHERE id = ANY (started);
        PERFORM executr_adopt(ARRAY(
            SELECT j.id FROM jobs j WHERE j.id = ANY (started)
                AND NOT EXISTS (
                    SELECT FROM claims c WHERE c.executor_id = j.executor_id
                        AND j.id = ANY (c.job_ids))));
    END IF;
    RETURN cardinality(ids);
END
$$;

CREATE FUNCTION executr_fold_counts() RETURNS void
LANGUAGE plpgsql
SET enable_hashjoin = off SET enable_mergejoin = off SET enable_material = off
SET enable_memoize = off
SET plan_cache_mode = force_generic_plan SET jit = off
AS $$
BEGIN
    IF (SELECT count(*) > 1 FROM (SELECT FROM job_counts LIMIT 2) c) THEN
        WITH old AS (DELETE FROM job_counts RETURNING *)
        INSERT INTO job_counts (foreground, background, best_effort, running,
            completed, failed, cancelled)
        SELECT sum(foreground), sum(background), sum(best_effort),
            sum(running), sum(completed), sum(failed), sum(cancelled)
        FROM old;
    END IF;
    IF EXISTS (SELECT FROM executor_counts) THEN
        WITH old AS (DELETE FROM executor_counts RETURNING *)
        UPDATE executors e SET jobs_completed = e.jobs_completed + o.jobs
        FROM (SELECT executor_id, sum(jobs_completed)::bigint AS jobs FROM old
            GROUP BY executor_id ORDER BY executor_id) o
        WHERE e.executor_id = o.executor_id;
    END IF;
END
$$;
