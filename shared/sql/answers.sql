-- name: ask
-- Keeps what steps that begin to wait ask (runs, nodes, items, questions); their runs' rows are locked.
INSERT INTO answers (run_id, workspace_id, node_id, item, question)
SELECT u.run_id, r.workspace_id, u.node_id, u.item, u.question
FROM unnest($1::uuid[], $2::text[], $3::text[], $4::text[]) AS u (run_id, node_id, item, question)
CROSS JOIN LATERAL (SELECT workspace_id FROM runs WHERE id = u.run_id OFFSET 0) AS r
ORDER BY u.run_id, u.node_id, u.item
ON CONFLICT (run_id, node_id, item) DO UPDATE SET question = excluded.question;

-- name: use_kept
-- Ends those of these waits (runs, nodes, items) that were answered before they began; `wake_steps` in shared/schema.sql.
WITH kept AS MATERIALIZED (
    SELECT a.run_id, a.node_id, a.item FROM unnest($1::uuid[], $2::text[], $3::text[]) AS u (run_id, node_id, item)
    CROSS JOIN LATERAL (
        SELECT * FROM answers
        WHERE run_id = u.run_id AND node_id = u.node_id AND item = u.item AND outcome IS NOT NULL OFFSET 0) AS a
)
SELECT w.run_id, w.node_id, w.item, w.priority
FROM (SELECT array_agg(run_id ORDER BY run_id, node_id, item) AS runs,
             array_agg(node_id ORDER BY run_id, node_id, item) AS nodes,
             array_agg(item ORDER BY run_id, node_id, item) AS items FROM kept) AS k
CROSS JOIN LATERAL wake_steps(k.runs, k.nodes, k.items, 'answer', false) AS w
WHERE k.runs IS NOT NULL;

-- name: lock_run
-- Locks a run, so that its waits neither begin nor end meanwhile.
SELECT 1 FROM runs WHERE id = $1 FOR NO KEY UPDATE;

-- name: asked
-- A step that waits for an answer, or will, or did (run, node, item), with its node's source.
SELECT r.outcome IS NOT NULL OR r.completed_at IS NOT NULL AS run_over,
       (SELECT v.nodes FROM workflow_versions v WHERE v.workflow_id = r.workflow_id AND v.version = r.version) AS nodes,
       a.question, a.outcome, o.waits IN ('callback', 'person') AS waits, o.due_at,
       o.wake IS NOT NULL OR s.status IS NOT NULL AS wait_over
FROM (SELECT * FROM runs WHERE id = $1 OFFSET 0) AS r
LEFT JOIN LATERAL (
    SELECT question, outcome FROM answers WHERE run_id = $1 AND node_id = $2 AND item = $3 OFFSET 0) AS a ON true
LEFT JOIN LATERAL (
    SELECT waits, wake, due_at FROM open_steps WHERE run_id = $1 AND node_id = $2 AND item = $3 OFFSET 0) AS o ON true
LEFT JOIN LATERAL (
    SELECT status FROM steps WHERE run_id = $1 AND node_id = $2 AND item = $3 AND status <> 'retried'
    LIMIT 1 OFFSET 0) AS s ON true;

-- name: answer
-- Keeps the answer (run, node, item, outcome, data as JSON) unless there is one; its run's row is locked.
INSERT INTO answers (run_id, workspace_id, node_id, item, outcome, data)
SELECT $1, workspace_id, $2, $3, $4, $5 FROM runs WHERE id = $1
ON CONFLICT (run_id, node_id, item) DO UPDATE
SET outcome = excluded.outcome, data = excluded.data, answered_at = now()
WHERE answers.outcome IS NULL
RETURNING true;

-- name: wake
-- Ends the wait of a step (run, node, item), which was answered; `wake_steps` in shared/schema.sql.
SELECT run_id, node_id, item, priority FROM wake_steps(ARRAY[$1::uuid], ARRAY[$2::text], ARRAY[$3::text], 'answer', false);
