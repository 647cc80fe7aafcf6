-- name: results
-- How each node outside iterators ended, by its last attempt.
SELECT DISTINCT ON (node_id) node_id, status, handle FROM steps WHERE run_id = $1 AND item = '-'
ORDER BY node_id, attempt DESC;

-- name: copy_steps
-- Copies every attempt of these nodes ($3) from run $2 to run $1, numbered anew in the same order.
INSERT INTO steps (run_id, workspace_id, seq, duration_ms, started_at, attempt, node_id, item, status, handle, output, input,
                   error)
SELECT $1, workspace_id, row_number() OVER (ORDER BY seq, node_id, item, attempt) - 1, duration_ms, started_at, attempt,
       node_id, item, status, handle, output, input, error
FROM steps WHERE run_id = $2 AND node_id = ANY ($3::text[]);

-- name: copy_iterations
-- Copies what is known of these iterators ($3) from run $2 to run $1: their results are composed of it when they are read.
INSERT INTO iterations (run_id, workspace_id, total, started, finished, failed, halts, stopped, node_id, item)
SELECT $1, workspace_id, total, started, finished, failed, halts, stopped, node_id, item
FROM iterations WHERE run_id = $2 AND node_id = ANY ($3::text[]) ORDER BY node_id, item;

-- name: copy_items
-- Copies the items of these iterators ($3) from run $2 to run $1.
INSERT INTO items (run_id, workspace_id, place, open_steps, ended, node_id, item, value, error)
SELECT $1, workspace_id, place, open_steps, ended, node_id, item, value, error
FROM items WHERE run_id = $2 AND node_id = ANY ($3::text[]) ORDER BY node_id, item, place;

-- name: add_run
-- The new run ($1), which goes on where run $2 ended, unless its workflow is gone or inactive: $3 open steps, $4 copied
-- ones, and the nodes that are skipped by now ($5) are numbered after these. $6-$8: request, trace, who started it.
WITH made AS (
    INSERT INTO runs (id, workspace_id, workflow_id, version, priority, trigger_type, trigger_payload, request_id, traceparent,
                      open_steps, seq, slots, rerun_of, started_by)
    SELECT $1, r.workspace_id, r.workflow_id, r.version, w.priority, r.trigger_type, r.trigger_payload, $6, $7,
           $3, $4 + cardinality($5::text[]), CASE WHEN w.limited THEN -1 ELSE 0 END, r.id, $8
    FROM runs r CROSS JOIN LATERAL (SELECT * FROM workflows WHERE id = r.workflow_id OFFSET 0) AS w
    WHERE r.id = $2 AND w.is_active AND w.deleted_at IS NULL
    RETURNING id, workspace_id
), skipped AS (
    INSERT INTO steps (run_id, workspace_id, seq, duration_ms, started_at, attempt, node_id, item, status)
    SELECT m.id, m.workspace_id, $4 + x.place - 1, 0, now(), 1, x.node_id, '-', 'skipped'
    FROM made m CROSS JOIN unnest($5::text[]) WITH ORDINALITY AS x (node_id, place)
)
SELECT id FROM made;

-- name: open
-- The steps that a run begins with, each to be claimed; gives the run's priority. Their messages follow.
INSERT INTO open_steps (run_id, workspace_id, workflow_id, priority, node_id, status, sent_at, sends)
SELECT r.id, r.workspace_id, r.workflow_id, r.priority, x.node_id, 'ready', now(), 1
FROM (SELECT * FROM runs WHERE id = $1) AS r CROSS JOIN unnest($2::text[]) AS x (node_id) ORDER BY x.node_id
RETURNING priority;

-- name: count_joins
-- What joins have of the edges that lead to them ($2 nodes, $3 settled, $4 fired).
INSERT INTO joins (run_id, workspace_id, arrived, fired, node_id, item)
SELECT r.id, r.workspace_id, x.arrived, x.fired, x.node_id, '-'
FROM (SELECT * FROM runs WHERE id = $1) AS r
CROSS JOIN unnest($2::text[], $3::integer[], $4::integer[]) AS x (node_id, arrived, fired) ORDER BY x.node_id;
