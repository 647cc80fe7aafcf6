-- name: now
-- Postgres's time at this moment: first slots are reckoned from it, after whatever locks had to be waited for.
SELECT clock_timestamp();

-- name: add
-- A new workflow, its token included; gives both timestamps. Settings that the engine reads live are columns too.
INSERT INTO workflows (id, workspace_id, name, description, authorization_id, is_active, schedule_type, schedule_value,
                       timezone, settings, version, priority, trigger_node, trigger_component, next_run_at,
                       webhook_token_hash, webhook_token, max_concurrent_runs, limited, run_timeout)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17,
        ($10::text::json ->> 'max_concurrent_runs')::integer,
        json_typeof($10::text::json -> 'max_concurrent_runs') = 'number' IS TRUE
            OR json_typeof($10::text::json -> 'concurrency_key') = 'string' IS TRUE
            OR $10::text::json ->> 'overlap' IN ('queue', 'cancel_running') IS TRUE,
        coalesce(($10::text::json ->> 'run_timeout')::integer, 3600))
RETURNING created_at, updated_at;

-- name: add_version
-- The immutable source and plan of a version.
INSERT INTO workflow_versions (workspace_id, workflow_id, version, nodes, edges, settings, plan, plan_format, created_by,
                               run_timeout, webhook, authorization_id)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, coalesce(($6::text::json ->> 'run_timeout')::integer, 3600), $10, $11);

-- name: get
-- A workflow with the graph of its current version.
SELECT w.id, w.workspace_id, w.name, w.description, w.authorization_id, w.is_active, w.schedule_type, w.schedule_value,
       w.timezone, w.settings, w.version, w.priority, w.trigger_node, w.trigger_component, w.next_run_at,
       w.webhook_token_hash, w.webhook_token, v.nodes, v.edges, w.created_at, w.updated_at
FROM workflows w JOIN workflow_versions v ON v.workflow_id = w.id AND v.version = w.version
WHERE w.workspace_id = $1 AND w.id = $2 AND w.deleted_at IS NULL;

-- name: lock
-- The same, locked until the end of the transaction against other writers.
SELECT w.id, w.workspace_id, w.name, w.description, w.authorization_id, w.is_active, w.schedule_type, w.schedule_value,
       w.timezone, w.settings, w.version, w.priority, w.trigger_node, w.trigger_component, w.next_run_at,
       w.webhook_token_hash, w.webhook_token, v.nodes, v.edges, w.created_at, w.updated_at
FROM workflows w JOIN workflow_versions v ON v.workflow_id = w.id AND v.version = w.version
WHERE w.workspace_id = $1 AND w.id = $2 AND w.deleted_at IS NULL
FOR NO KEY UPDATE OF w;

-- name: list
-- Workflows of a workspace without their graphs, newest first: those older than $5, at most $6; nulls filter nothing.
SELECT w.id, w.workspace_id, w.name, w.description, w.authorization_id, w.is_active, w.schedule_type, w.schedule_value,
       w.timezone, w.settings, w.version, w.priority, w.trigger_node, w.trigger_component, w.next_run_at,
       w.webhook_token_hash, w.webhook_token, NULL AS nodes, NULL AS edges, w.created_at, w.updated_at
FROM workflows w
WHERE w.workspace_id = $1 AND w.deleted_at IS NULL
  AND ($2::boolean IS NULL OR w.is_active = $2)
  AND ($3::text IS NULL OR w.schedule_type = $3)
  AND ($4::text IS NULL OR position(lower($4) IN lower(w.name || E'\n' || coalesce(w.description, ''))) > 0)
  AND ($5::uuid IS NULL OR w.id < $5)
ORDER BY w.id DESC LIMIT $6;

-- name: list_callable
-- The active workflows of a workspace that others may call, without their graphs, newest first.
SELECT w.id, w.workspace_id, w.name, w.description, w.authorization_id, w.is_active, w.schedule_type, w.schedule_value,
       w.timezone, w.settings, w.version, w.priority, w.trigger_node, w.trigger_component, w.next_run_at,
       w.webhook_token_hash, w.webhook_token, NULL AS nodes, NULL AS edges, w.created_at, w.updated_at
FROM workflows w
WHERE w.workspace_id = $1 AND w.deleted_at IS NULL AND w.is_active AND w.trigger_component = 'workflow_trigger'
ORDER BY w.id DESC;

-- name: update
-- Everything of a workflow that can change. updated_at always moves, since the ETag is made of it.
UPDATE workflows
SET name = $3, description = $4, authorization_id = $5, is_active = $6, schedule_type = $7, schedule_value = $8,
    timezone = $9, settings = $10, version = $11, priority = $12, trigger_node = $13, trigger_component = $14,
    next_run_at = $15, webhook_token_hash = $16, webhook_token = $17,
    max_concurrent_runs = ($10::text::json ->> 'max_concurrent_runs')::integer,
    limited = json_typeof($10::text::json -> 'max_concurrent_runs') = 'number' IS TRUE
              OR json_typeof($10::text::json -> 'concurrency_key') = 'string' IS TRUE
              OR $10::text::json ->> 'overlap' IN ('queue', 'cancel_running') IS TRUE,
    -- The least of all versions': runs of older ones are still looked after in time.
    run_timeout = least(run_timeout, coalesce(($10::text::json ->> 'run_timeout')::integer, 3600)),
    updated_at = greatest(clock_timestamp(), updated_at + interval '1 microsecond')
WHERE id = $1 AND workspace_id = $2
RETURNING created_at, updated_at;

-- name: rotate_token
-- A new webhook token ($3: SHA-256, $4: encrypted); the one of before works for $5 seconds more, the one before that no more.
UPDATE workflows
SET previous_token_hash = CASE WHEN $5::integer > 0 THEN webhook_token_hash END,
    previous_token_until = CASE WHEN $5::integer > 0 THEN now() + make_interval(secs => $5) END,
    webhook_token_hash = $3, webhook_token = $4,
    updated_at = greatest(clock_timestamp(), updated_at + interval '1 microsecond')
WHERE id = $1 AND workspace_id = $2
RETURNING updated_at;

-- name: mark_deleted
-- Gone for every caller at once; the scheduler removes the rows in batches.
UPDATE workflows SET deleted_at = now(), is_active = false, next_run_at = NULL WHERE id = $1 AND workspace_id = $2;

-- name: by_tokens
-- What webhook tokens lead to, those too that were rotated and still work; nothing for those that nobody has.
SELECT t.hash, w.id, w.workspace_id, w.is_active, w.trigger_component, v.webhook
FROM unnest($1::bytea[]) AS t (hash)
CROSS JOIN LATERAL (
    SELECT * FROM workflows WHERE webhook_token_hash = t.hash AND deleted_at IS NULL
    UNION ALL
    SELECT * FROM workflows WHERE previous_token_hash = t.hash AND previous_token_until > now() AND deleted_at IS NULL
) AS w
CROSS JOIN LATERAL (SELECT webhook FROM workflow_versions WHERE workflow_id = w.id AND version = w.version OFFSET 0) AS v;

-- name: target
-- What must be known of a workflow to start it.
SELECT id, workspace_id, is_active, trigger_component, trigger_node FROM workflows
WHERE workspace_id = $1 AND id = $2 AND deleted_at IS NULL;
