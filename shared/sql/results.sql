-- name: items
-- The items of an iterator (run, node, its path) and what they failed with, in order.
SELECT place, error FROM items WHERE run_id = $1 AND node_id = $2 AND item = $3 ORDER BY place;

-- name: leaves
-- What nodes inside an iterator gave out in each of its items (run, nodes, the iterator's path); the last attempt counts.
SELECT node_id, item, output FROM steps
WHERE run_id = $1 AND node_id = ANY ($2::text[]) AND lies_under(item, $3) AND status IN ('success', 'failed')
  AND output IS NOT NULL
ORDER BY item, node_id;

-- name: size
-- How many bytes `leaves` would read.
SELECT coalesce(sum(octet_length(output)), 0)::bigint AS bytes FROM steps
WHERE run_id = $1 AND node_id = ANY ($2::text[]) AND lies_under(item, $3) AND status IN ('success', 'failed');

-- name: ended
-- Which of some iterators ($2) ended well in an item ($3) of a run.
SELECT node_id FROM steps
WHERE run_id = $1 AND node_id = ANY ($2::text[]) AND item = $3 AND status = 'success' ORDER BY node_id;

-- name: called_version
-- Workflow and version of a run that a step waits for.
SELECT workflow_id, version FROM runs WHERE id = $1 AND parent_waits;
