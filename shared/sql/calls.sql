-- name: lock
-- Serialises changes of who calls whom in a workspace; foreign keys to it are not held up.
SELECT FROM workspaces WHERE id = $1 FOR NO KEY UPDATE;

-- name: find
-- A workflow of a workspace.
SELECT id, name, trigger_component FROM workflows WHERE workspace_id = $1 AND id = $2 AND deleted_at IS NULL;

-- name: with_trigger
-- Active workflows of a workspace that begin with a trigger of a kind.
SELECT id, name, trigger_component FROM workflows
WHERE workspace_id = $1 AND trigger_component = $2 AND is_active AND deleted_at IS NULL ORDER BY name, id LIMIT 100;

-- name: callers
-- The workflows that call one.
SELECT w.id, w.name, w.trigger_component FROM workflow_calls c
CROSS JOIN LATERAL (SELECT * FROM workflows WHERE id = c.workflow_id OFFSET 0) AS w
WHERE c.callee_id = $1 AND w.deleted_at IS NULL ORDER BY w.name, w.id LIMIT 100;

-- name: reached
-- The calls that some workflows make, those that their callees make, and so on.
WITH RECURSIVE reached AS (
    SELECT unnest($1::uuid[]) AS id
    UNION
    SELECT c.callee_id FROM reached r
    CROSS JOIN LATERAL (SELECT callee_id FROM workflow_calls WHERE workflow_id = r.id OFFSET 0) AS c
)
SELECT r.id AS workflow_id, c.callee_id FROM reached r
CROSS JOIN LATERAL (SELECT callee_id FROM workflow_calls WHERE workflow_id = r.id OFFSET 0) AS c
CROSS JOIN LATERAL (SELECT deleted_at FROM workflows WHERE id = r.id OFFSET 0) AS w
WHERE w.deleted_at IS NULL ORDER BY 1, 2;

-- name: names
-- The names of workflows.
SELECT id, name FROM workflows WHERE id = ANY ($1::uuid[]);

-- name: forget
-- Calls that a workflow's current version does not make any more.
DELETE FROM workflow_calls WHERE workflow_id = $1 AND NOT callee_id = ANY ($2::uuid[]);

-- name: add
-- Calls that a workflow's current version makes.
INSERT INTO workflow_calls (workspace_id, workflow_id, callee_id) SELECT $1, $2, unnest($3::uuid[])
ON CONFLICT DO NOTHING;

-- name: set_error_workflow
-- The workflow that failures of one start.
UPDATE workflows SET error_workflow_id = $2 WHERE id = $1;

-- name: set_input_schema
-- What the current version of a workflow asks of the context that it is called with (JSON).
INSERT INTO input_schemas (workflow_id, workspace_id, schema) VALUES ($1, $2, $3)
ON CONFLICT (workflow_id) DO UPDATE SET schema = excluded.schema;

-- name: drop_input_schema
-- The current version of a workflow takes any context.
DELETE FROM input_schemas WHERE workflow_id = $1;

-- name: input_schemas
-- What the current versions of some workflows ask of their context, as far as they begin with a `workflow_trigger`.
SELECT s.workflow_id, s.schema FROM input_schemas s
CROSS JOIN LATERAL (SELECT trigger_component FROM workflows WHERE id = s.workflow_id OFFSET 0) AS w
WHERE s.workflow_id = ANY ($1::uuid[]) AND w.trigger_component = 'workflow_trigger';

-- name: refuse
-- Keeps why a step's call (run, node, item) starts no run, as the answer that the step goes on with.
INSERT INTO answers (run_id, workspace_id, node_id, item, outcome, data)
SELECT $1, workspace_id, $2, $3, 'invalid_input', $4 FROM runs WHERE id = $1
ON CONFLICT (run_id, node_id, item) DO UPDATE SET outcome = excluded.outcome, data = excluded.data;
