-- name: listeners
-- At most $3 active workflows of a workspace that begin with an `event_trigger` for an event, and their filters.
SELECT l.workflow_id, l.filter FROM event_listeners l JOIN workflows w ON w.id = l.workflow_id
WHERE l.workspace_id = $1 AND l.event = $2 AND w.is_active AND w.deleted_at IS NULL
  AND w.trigger_component = 'event_trigger'
ORDER BY l.workflow_id LIMIT $3;

-- name: workspace
-- The workspace of a run.
SELECT workspace_id FROM runs WHERE id = $1;

-- name: listen
-- Says to which event the current version of a workflow listens, and with which filter.
INSERT INTO event_listeners (workflow_id, workspace_id, event, filter) VALUES ($1, $2, $3, $4)
ON CONFLICT (workflow_id) DO UPDATE SET event = excluded.event, filter = excluded.filter;

-- name: forget
-- The current version of a workflow listens to nothing.
DELETE FROM event_listeners WHERE workflow_id = $1;

-- name: publish
-- A step publishes an event (run, node, item, verdict, ids of runs, their workflows, payload); `publish_event` in
-- shared/schema.sql.
SELECT run_id, node_id, item, priority FROM publish_event($1, $2, $3, $4, $5, $6, $7);
