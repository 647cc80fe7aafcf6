-- name: accept
-- Makes runs of triggers: a run and its first open step each. The join on workflows is what decides: a trigger whose
-- workflow is gone, inactive, has another webhook token or a trigger of another kind by now makes nothing, however
-- stale the caller's cache was.
-- A run id that exists is one of a batch whose outcome was unknown; `already_accepted` tells.
WITH input AS (
    SELECT * FROM unnest($1::uuid[], $2::uuid[], $3::text[], $4::text[], $5::text[], $6::text[], $7::bytea[], $8::boolean[])
        AS i (run_id, workflow_id, trigger_type, payload, request_id, traceparent, token_hash, sent)
), wanted AS (
    SELECT i.*, w.workspace_id, w.version, w.priority, w.trigger_node
    FROM input i JOIN workflows w ON w.id = i.workflow_id
    WHERE w.is_active AND w.deleted_at IS NULL
      AND (i.token_hash IS NULL
           OR i.token_hash = w.webhook_token_hash AND w.trigger_component = 'webhook_trigger')
), accepted AS (
    INSERT INTO runs (id, workspace_id, workflow_id, version, priority, trigger_type, trigger_payload, request_id,
                      traceparent, open_steps)
    SELECT run_id, workspace_id, workflow_id, version, priority, trigger_type, payload, request_id, traceparent, 1
    FROM wanted ORDER BY run_id
    ON CONFLICT (id) DO NOTHING
    RETURNING id, workspace_id, workflow_id, version, priority, created_at
), opened AS (
    INSERT INTO open_steps (run_id, node_id, workspace_id, workflow_id, priority, status, claim_first, sent_at, sends)
    SELECT a.id, w.trigger_node, a.workspace_id, a.workflow_id, a.priority, 'ready', false,
           CASE WHEN w.sent THEN now() END, w.sent::int
    FROM accepted a JOIN wanted w ON w.run_id = a.id
    RETURNING run_id, node_id
)
SELECT a.id, a.workspace_id, a.workflow_id, a.version, a.priority, a.created_at, o.node_id
FROM accepted a JOIN opened o ON o.run_id = a.id;

-- name: already_accepted
-- Which of these runs exist, in the shape of `accept`; asked when a commit's outcome was unknown.
SELECT r.id, r.workspace_id, r.workflow_id, r.version, r.priority, r.created_at,
       (SELECT w.trigger_node FROM workflows w WHERE w.id = r.workflow_id) AS node_id
FROM runs r WHERE r.id = ANY ($1::uuid[]);

-- name: count_sent
-- How many steps of each workflow have been sent and not been taken yet.
SELECT workflow_id, count(*) AS sent FROM open_steps
WHERE status = 'ready' AND sent_at IS NOT NULL GROUP BY workflow_id;
