-- name: get
-- A run of a workspace, unless its workflow was deleted.
SELECT r.id, r.workspace_id, r.workflow_id, r.version, r.created_at, r.trigger_type, r.trigger_payload, r.status,
       r.started_at, r.completed_at, r.error_message
FROM runs r JOIN workflows w ON w.id = r.workflow_id
WHERE r.id = $2 AND r.workspace_id = $1 AND w.deleted_at IS NULL;

-- name: graph
-- The source of the version a run is of; no row once its workflow was removed.
SELECT nodes FROM workflow_versions WHERE workflow_id = $1 AND version = $2;

-- name: settled
-- What a run's steps came to, in the order of its log.
SELECT seq, node_id, item, attempt, status, handle, started_at, duration_ms, output, input, error
FROM steps WHERE run_id = $1 ORDER BY seq, node_id, item, attempt;

-- name: open
-- The steps of a run that are open, and whether any worker is alive to take one ($2: seconds of a lease).
SELECT node_id, item, attempt, status, started_at, due_at,
       EXISTS (SELECT FROM incarnations
               WHERE dead_at IS NULL AND heartbeat_at > now() - make_interval(secs => $2)) AS attended
FROM open_steps WHERE run_id = $1 ORDER BY node_id, item;

-- name: page
-- Runs of a workflow, newest first, with ids in [$2, $3); $4 (null: any) is the status, looked for in the newest $5 of
-- them only, so that a rare status never reads the whole history.
SELECT id, workspace_id, workflow_id, version, created_at, trigger_type, trigger_payload, status, started_at,
       completed_at, error_message
FROM (SELECT * FROM runs WHERE workflow_id = $1 AND id >= $2 AND id < $3 ORDER BY id DESC LIMIT $5) AS newest
WHERE $4::text IS NULL OR status = $4
ORDER BY id DESC OFFSET $6 LIMIT $7;

-- name: count
-- How many such runs there are in the newest $5 of them, how many were looked at, and the oldest that was.
SELECT count(*) FILTER (WHERE $4::text IS NULL OR status = $4) AS matching, count(*) AS seen,
       min(id::text)::uuid AS oldest
FROM (SELECT id, status FROM runs WHERE workflow_id = $1 AND id >= $2 AND id < $3 ORDER BY id DESC LIMIT $5) AS newest;

-- name: estimate
-- How many rows the planner thinks there are, as its plan in JSON; the statistics of each partition are summed.
EXPLAIN (FORMAT JSON) SELECT FROM runs WHERE workflow_id = $1 AND id >= $2 AND id < $3;

-- name: count_open_runs
-- How many runs are open, counting no further than $1.
SELECT count(*) FROM (SELECT DISTINCT run_id FROM open_steps LIMIT $1) AS open;

-- name: database_answers
-- Whether the database answers.
SELECT true;
