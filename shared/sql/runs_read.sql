-- name: get
-- A run of a workspace, unless its workflow was deleted or hides it: it has ended and is older than its own retention.
SELECT r.id, r.workspace_id, r.workflow_id, r.version, r.created_at, r.trigger_type, r.trigger_payload, r.status,
       r.started_at, r.completed_at, r.error_message, r.parent_run_id, r.rerun_of
FROM runs r CROSS JOIN LATERAL (SELECT * FROM workflows WHERE id = r.workflow_id OFFSET 0) AS w
WHERE r.id = $2 AND r.workspace_id = $1 AND w.deleted_at IS NULL
  AND (r.completed_at IS NULL OR r.id >= shown_from(w.keep_runs_days));

-- name: graph
-- The source of the version a run is of; no row once its workflow was removed.
SELECT nodes FROM workflow_versions WHERE workflow_id = $1 AND version = $2;

-- name: settled
-- What a run's steps came to, in the order of its log: the first $2 of them. Their texts stand there as long as all up to
-- there have at most $3 bytes together; `fits` tells.
SELECT seq, node_id, item, attempt, status, handle, started_at, duration_ms, CASE WHEN bytes <= $3 THEN output END AS output,
       CASE WHEN bytes <= $3 THEN input END AS input, CASE WHEN bytes <= $3 THEN error END AS error, bytes <= $3 AS fits
FROM (SELECT *, sum(coalesce(octet_length(output), 0) + coalesce(octet_length(input), 0) + coalesce(octet_length(error), 0))
                    OVER (ORDER BY seq, node_id, item, attempt) AS bytes
      FROM (SELECT * FROM steps WHERE run_id = $1 ORDER BY seq, node_id, item, attempt LIMIT $2) AS early) AS counted
ORDER BY seq, node_id, item, attempt;

-- name: open
-- At most $3 of the steps of a run that are open, and whether any worker is alive to take one ($2: seconds of a lease).
SELECT node_id, item, attempt, status, started_at, due_at, waits, claim_first, child_run_id,
       EXISTS (SELECT FROM incarnations
               WHERE dead_at IS NULL AND heartbeat_at > now() - make_interval(secs => $2)) AS attended
FROM open_steps WHERE run_id = $1 ORDER BY node_id, item LIMIT $3;

-- name: page
-- Runs of a workflow, newest first, with ids in [$2, $3); $4 (null: any) is the status, looked for in the newest $5 of
-- them only, so that a rare status never reads the whole history. What the workflow hides is left out after that, for the
-- same reason.
SELECT id, workspace_id, workflow_id, version, created_at, trigger_type, trigger_payload, status, started_at,
       completed_at, error_message, parent_run_id, rerun_of
FROM (SELECT * FROM runs WHERE workflow_id = $1 AND id >= $2 AND id < $3 ORDER BY id DESC LIMIT $5) AS newest
WHERE ($4::text IS NULL OR status = $4)
  AND (completed_at IS NULL OR id >= (SELECT shown_from(keep_runs_days) FROM workflows WHERE id = $1))
ORDER BY id DESC OFFSET $6 LIMIT $7;

-- name: count
-- How many such runs there are in the newest $5 of them, how many were looked at, the oldest that was, and from which id on
-- the workflow shows those that have ended.
SELECT count(*) FILTER (WHERE ($4::text IS NULL OR status = $4) AND (completed_at IS NULL OR id >= w.shown_from)) AS matching,
       count(*) AS seen, min(id::text)::uuid AS oldest, min(w.shown_from::text)::uuid AS shown_from
FROM (SELECT shown_from(keep_runs_days) AS shown_from FROM workflows WHERE id = $1) AS w
CROSS JOIN (SELECT id, status, completed_at FROM runs
            WHERE workflow_id = $1 AND id >= $2 AND id < $3 ORDER BY id DESC LIMIT $5) AS newest;

-- name: estimate
-- How many rows the planner thinks there are, as its plan in JSON; the statistics of each partition are summed.
EXPLAIN (FORMAT JSON) SELECT FROM runs WHERE workflow_id = $1 AND id >= $2 AND id < $3;

-- name: database_answers
-- Whether the database answers.
SELECT true;
