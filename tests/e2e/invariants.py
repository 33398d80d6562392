# SPDX-License-Identifier: MIT
"""What must be true of a store whatever happened: asked of the tables."""

# Each query gives rows that contradict the invariant it is named for. Both
# stores have the same names of tables and columns.
CONTRADICTIONS = {
    "a pending job is claimable or waits, once": """
        SELECT j.id FROM jobs j
        WHERE (SELECT count(*) FROM queue q WHERE q.job_id = j.id)
            + (SELECT count(*) FROM waiting w WHERE w.job_id = j.id)
            <> CASE WHEN j.status = 'pending' THEN 1 ELSE 0 END""",
    "what is claimable is a job": """
        SELECT job_id FROM queue WHERE job_id NOT IN (SELECT id FROM jobs)""",
    "what waits is a job": """
        SELECT job_id FROM waiting WHERE job_id NOT IN (SELECT id FROM jobs)
        """,
    "a running job has an executor and a time": """
        SELECT id FROM jobs WHERE status = 'running'
        AND (executor_id IS NULL OR started_at IS NULL OR attempt < 1)""",
    "a finished job has its time": """
        SELECT id FROM jobs WHERE completed_at IS NULL
        AND status IN ('completed', 'failed', 'cancelled')""",
    "a job that is not over has no end": """
        SELECT id FROM jobs WHERE completed_at IS NOT NULL
        AND status IN ('pending', 'running')""",
    "attempts end once and are no more than were begun": """
        SELECT j.id FROM jobs j JOIN job_attempts a ON a.job_id = j.id
        WHERE a.attempt > j.attempt
        OR (j.status = 'running' AND a.attempt = j.attempt)""",
    "a completed job has exactly one completed attempt, its last": """
        SELECT j.id FROM jobs j WHERE j.status = 'completed' AND 1 <> (
            SELECT count(*) FROM job_attempts a
            WHERE a.job_id = j.id AND a.status = 'completed')
        OR j.status = 'completed' AND NOT EXISTS (
            SELECT 1 FROM job_attempts a WHERE a.job_id = j.id
            AND a.status = 'completed' AND a.attempt = j.attempt)""",
    "no attempt of a job that is not completed is": """
        SELECT j.id FROM jobs j JOIN job_attempts a ON a.job_id = j.id
        WHERE a.status = 'completed' AND j.status <> 'completed'""",
    "counts are what counting gives": """
        SELECT * FROM (SELECT
            (SELECT coalesce(sum(foreground + background + best_effort), 0)
             FROM job_counts)
            - (SELECT count(*) FROM jobs WHERE status = 'pending') AS pending,
            (SELECT coalesce(sum(running), 0) FROM job_counts)
            - (SELECT count(*) FROM jobs WHERE status = 'running') AS running,
            (SELECT coalesce(sum(completed), 0) FROM job_counts)
            - (SELECT count(*) FROM jobs WHERE status = 'completed')
                AS completed,
            (SELECT coalesce(sum(failed), 0) FROM job_counts)
            - (SELECT count(*) FROM jobs WHERE status = 'failed') AS failed,
            (SELECT coalesce(sum(cancelled), 0) FROM job_counts)
            - (SELECT count(*) FROM jobs WHERE status = 'cancelled')
                AS cancelled) d
        WHERE pending <> 0 OR running <> 0 OR completed <> 0 OR failed <> 0
        OR cancelled <> 0""",
}


def check(store):
    """Every invariant, of a store that nobody is changing."""
    wrong = {}
    for name, sql in CONTRADICTIONS.items():
        rows = store.query(sql)
        if rows:
            wrong[name] = rows[:5]
    assert not wrong, wrong
