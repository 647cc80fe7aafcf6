-- name: count
-- How many runs are open, counting no further than $1.
SELECT count(*) FROM (SELECT DISTINCT run_id FROM open_steps LIMIT $1) AS open;

-- name: count_by_workspace
-- The same by workspace. Read along the primary key as the other is, with the rows beside it; nothing is sorted.
SELECT workspace_id, count(*) AS runs
FROM (SELECT DISTINCT ON (run_id) workspace_id FROM open_steps ORDER BY run_id LIMIT $1) AS open
GROUP BY workspace_id;
