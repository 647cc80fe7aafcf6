-- name: enter
-- Lets a run of a limited workflow begin, or makes it wait (run, claim of its first step, its key); `enter_limit` in
-- shared/schema.sql.
SELECT verdict, oldest FROM enter_limit($1, $2, $3);

-- name: admit
-- Lets runs of a workflow go on that wait for a slot; `admit_queued` in shared/schema.sql.
SELECT run_id, node_id, item, priority FROM admit_queued($1);

-- name: admit_after
-- The same for the workflow of a run that ended.
SELECT a.run_id, a.node_id, a.item, a.priority
FROM (SELECT workflow_id FROM runs WHERE id = $1) AS r CROSS JOIN LATERAL admit_queued(r.workflow_id) AS a;

-- name: queued
-- Workflows that runs wait for a slot of, at most $1 of them, in order behind $2.
WITH RECURSIVE flows AS (
    (SELECT workflow_id FROM open_steps
     WHERE status = 'waiting' AND waits = 'concurrency' AND workflow_id > $2 ORDER BY workflow_id LIMIT 1)
    UNION ALL
    SELECT (SELECT o.workflow_id FROM open_steps o
            WHERE o.status = 'waiting' AND o.waits = 'concurrency' AND o.workflow_id > f.workflow_id
            ORDER BY o.workflow_id LIMIT 1)
    FROM flows f WHERE f.workflow_id IS NOT NULL
)
SELECT workflow_id FROM flows WHERE workflow_id IS NOT NULL LIMIT $1;

-- name: overdue
-- At most $1 runs whose active time is over their version's time-out, and that time-out in seconds. What is open is looked
-- through whole, as for the gauges; a run that began less than its workflow's least time-out ago is passed over by its id.
WITH old AS MATERIALIZED (
    SELECT DISTINCT o.run_id FROM open_steps o JOIN workflows w ON w.id = o.workflow_id
    WHERE o.run_id < uuid7_floor(now() - make_interval(secs => w.run_timeout))
)
SELECT r.id, v.run_timeout
FROM old CROSS JOIN LATERAL (SELECT * FROM runs WHERE id = old.run_id OFFSET 0) AS r
JOIN workflow_versions v ON v.workflow_id = r.workflow_id AND v.version = r.version
WHERE r.outcome IS NULL
  AND extract(epoch FROM coalesce(r.idle_since, now()) - r.started_at) - r.idle_seconds > v.run_timeout
LIMIT $1;
