-- name: scan
-- Of the newest $6 runs with ids in [$2, $3), whatever their workspace: the newest $7 of workspace $1 whose workflow ($4)
-- and status (one of $5) are right (nulls filter nothing), and which that workflow shows. The last row, if there were $6, is the oldest of them, unmatched.
WITH newest AS MATERIALIZED (
    SELECT id, workspace_id, workflow_id, status, completed_at FROM runs WHERE id >= $2 AND id < $3 ORDER BY id DESC LIMIT $6
)
(SELECT n.id, true AS matches FROM newest n
 WHERE n.workspace_id = $1 AND ($4::uuid IS NULL OR n.workflow_id = $4) AND ($5::text[] IS NULL OR n.status = ANY ($5))
   AND (SELECT w.deleted_at IS NULL AND (n.completed_at IS NULL OR n.id >= shown_from(w.keep_runs_days))
        FROM workflows w WHERE w.id = n.workflow_id)
 ORDER BY n.id DESC LIMIT $7)
UNION ALL
(SELECT min(id::text)::uuid, false FROM newest HAVING count(*) = $6);

-- name: scan_workflow
-- The same in the runs of one workflow ($4), which have an index of their own.
WITH newest AS MATERIALIZED (
    SELECT id, workspace_id, status, completed_at FROM runs WHERE workflow_id = $4 AND id >= $2 AND id < $3 ORDER BY id DESC LIMIT $6
)
(SELECT n.id, true AS matches FROM newest n
 WHERE n.workspace_id = $1 AND ($5::text[] IS NULL OR n.status = ANY ($5))
   AND EXISTS (SELECT FROM workflows w WHERE w.id = $4 AND w.deleted_at IS NULL
                 AND (n.completed_at IS NULL OR n.id >= shown_from(w.keep_runs_days)))
 ORDER BY n.id DESC LIMIT $7)
UNION ALL
(SELECT min(id::text)::uuid, false FROM newest HAVING count(*) = $6);

-- name: scan_open
-- The same among open runs alone, found by their open steps: the newest $6 of those are looked at.
WITH newest AS MATERIALIZED (
    SELECT run_id, workspace_id, workflow_id FROM open_steps WHERE run_id >= $2 AND run_id < $3 ORDER BY run_id DESC LIMIT $6
), found AS MATERIALIZED (
    SELECT DISTINCT run_id AS id, workflow_id FROM newest
    WHERE workspace_id = $1 AND ($4::uuid IS NULL OR workflow_id = $4)
)
(SELECT f.id, true AS matches FROM found f
 CROSS JOIN LATERAL (SELECT status FROM runs WHERE id = f.id AND completed_at IS NULL OFFSET 0) AS r
 WHERE ($5::text[] IS NULL OR r.status = ANY ($5))
   AND (SELECT w.deleted_at IS NULL FROM workflows w WHERE w.id = f.workflow_id)
 ORDER BY f.id DESC LIMIT $7)
UNION ALL
(SELECT min(run_id::text)::uuid, false FROM newest HAVING count(*) = $6);

-- name: by_ids
-- These runs, newest first.
SELECT r.id, r.workspace_id, r.workflow_id, r.version, r.created_at, r.trigger_type, r.trigger_payload, r.status,
       r.started_at, r.completed_at, r.error_message, r.parent_run_id, r.rerun_of
FROM unnest($1::uuid[]) AS x (id) CROSS JOIN LATERAL (SELECT * FROM runs WHERE id = x.id OFFSET 0) AS r
ORDER BY r.id DESC;
