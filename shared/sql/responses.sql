-- name: answered
-- Of runs whose requests wait ($1, beside each a node that would answer, $2): those that have ended, and what these nodes
-- gave out. $3, $4: the least and the greatest of the ids, which spare a look into the partitions of other days.
SELECT a.run_id, CASE WHEN r.completed_at IS NOT NULL THEN r.status::text END AS status, r.error_message,
       r.output AS run_output, s.seq, s.output, s.input
FROM unnest($1::uuid[], $2::text[]) AS a (run_id, node_id)
CROSS JOIN LATERAL (
    SELECT completed_at, status, error_message, output FROM runs
    WHERE id = a.run_id AND id BETWEEN $3 AND $4 OFFSET 0) AS r
LEFT JOIN LATERAL (
    SELECT seq, output, input FROM steps
    WHERE run_id = a.run_id AND run_id BETWEEN $3 AND $4 AND node_id = a.node_id AND item = '-' AND status = 'success'
    LIMIT 1 OFFSET 0) AS s ON true
WHERE r.completed_at IS NOT NULL OR s.seq IS NOT NULL;

-- name: target
-- What must be known of a workflow of a workspace to start it and wait for its answer.
SELECT id, is_active, trigger_component, version FROM workflows
WHERE workspace_id = $1 AND id = $2 AND deleted_at IS NULL;
