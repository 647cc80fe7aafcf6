-- name: under_way
-- The open runs that earlier slots of locked workflows ($1) made, in the order of their slots; what has ended is dropped.
WITH known AS MATERIALIZED (
    SELECT s.workflow_id, s.slot, s.run_id,
           coalesce((SELECT r.completed_at IS NULL FROM runs r WHERE r.id = s.run_id), false) AS is_open
    FROM scheduled_runs s WHERE s.workflow_id = ANY ($1::uuid[])
), dropped AS (
    DELETE FROM scheduled_runs s USING known k
    WHERE s.workflow_id = ANY (ARRAY[k.workflow_id]) AND s.slot = k.slot AND NOT k.is_open
)
SELECT workflow_id, run_id FROM known WHERE is_open ORDER BY workflow_id, slot;

-- name: add
-- Keeps runs that were just made ($1 workspaces, $2 workflows, $3 slots, $4 run ids).
INSERT INTO scheduled_runs (workspace_id, workflow_id, slot, run_id)
SELECT * FROM unnest($1::uuid[], $2::uuid[], $3::timestamptz[], $4::uuid[]) AS i (workspace_id, workflow_id, slot, run_id)
ORDER BY workflow_id, slot
ON CONFLICT (workflow_id, slot) DO NOTHING;

-- name: add_open
-- Keeps the open runs of a workflow ($1) that its schedule made while nobody asked for them: its overlap was `allow`.
INSERT INTO scheduled_runs (workspace_id, workflow_id, slot, run_id)
SELECT r.workspace_id, r.workflow_id, (r.trigger_payload::json ->> 'scheduled_at')::timestamptz AS slot, r.id
FROM (SELECT DISTINCT run_id FROM open_steps WHERE workflow_id = $1) AS o
CROSS JOIN LATERAL (SELECT * FROM runs WHERE id = o.run_id OFFSET 0) AS r
WHERE r.trigger_type = 'scheduled' AND r.rerun_of IS NULL
ORDER BY slot
ON CONFLICT (workflow_id, slot) DO NOTHING;

-- name: skip
-- Records slots of locked workflows that are not run ($1 run ids, $2 workflows, $3 payloads, $4 reasons): each is a run that
-- is cancelled and says why.
WITH input AS (
    SELECT * FROM unnest($1::uuid[], $2::uuid[], $3::text[], $4::text[]) AS i (run_id, workflow_id, payload, reason)
), recorded AS (
    INSERT INTO runs (id, workspace_id, workflow_id, version, priority, trigger_type, trigger_payload, status, outcome,
                      open_steps, seq, completed_at, error_message)
    SELECT i.run_id, w.workspace_id, w.id, w.version, w.priority, 'scheduled', i.payload, 'cancelled', 'cancelled',
           0, 1, now(), i.reason
    FROM input i CROSS JOIN LATERAL (SELECT * FROM workflows WHERE id = i.workflow_id OFFSET 0) AS w ORDER BY i.run_id
    RETURNING id, workspace_id, workflow_id
)
INSERT INTO steps (run_id, workspace_id, seq, duration_ms, started_at, attempt, node_id, item, status)
SELECT r.id, r.workspace_id, 0, 0, now(), 1, w.trigger_node, '-', 'cancelled'
FROM recorded r CROSS JOIN LATERAL (SELECT trigger_node FROM workflows WHERE id = r.workflow_id OFFSET 0) AS w;

-- name: overtaken
-- The runs of these workflows ($1), of those whose overlap is `cancel_running`, that are to make way for the run of a later
-- slot and that nobody has ended yet.
WITH open AS MATERIALIZED (
    SELECT s.workflow_id, s.slot, s.run_id FROM scheduled_runs s
    CROSS JOIN LATERAL (SELECT settings FROM workflows WHERE id = s.workflow_id OFFSET 0) AS w
    WHERE s.workflow_id = ANY ($1::uuid[]) AND w.settings::json ->> 'overlap' = 'cancel_running'
      AND (SELECT r.outcome IS NULL FROM runs r WHERE r.id = s.run_id)
)
SELECT o.run_id FROM open o WHERE o.slot < (SELECT max(l.slot) FROM open l WHERE l.workflow_id = o.workflow_id);

-- name: explain
-- Says why runs ($1, locked; least $2, greatest $3) were cancelled, unless something has been said.
UPDATE runs SET error_message = $4
WHERE id = ANY ($1::uuid[]) AND id BETWEEN $2::uuid AND $3::uuid AND outcome = 'cancelled' AND error_message IS NULL;
