-- name: items
-- The items of iterators (run, nodes, the path that they are at or under) and what they failed with, in order.
SELECT node_id, item, place, error FROM items
WHERE run_id = $1 AND node_id = ANY ($2::text[]) AND lies_under(item, $3) ORDER BY node_id, item, place;

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
-- Which of some iterators ($2) at or under a path ($3) ended well, with their own paths.
SELECT node_id, item FROM steps
WHERE run_id = $1 AND node_id = ANY ($2::text[]) AND lies_under(item, $3) AND status = 'success';

-- name: called_version
-- Workflow and version of a run that a step waits for.
SELECT workflow_id, version FROM runs WHERE id = $1 AND parent_waits;
