-- name: add
-- A new action over many runs, nothing of it done yet.
INSERT INTO bulk_actions (id, workspace_id, action, filter, below, created_by) VALUES ($1, $2, $3, $4, $5, $6)
RETURNING created_at;

-- name: get
-- An action of a workspace, and how far it is.
SELECT id, workspace_id, action, filter, below, matched, done, failed, created_by, created_at, completed_at
FROM bulk_actions WHERE workspace_id = $1 AND id = $2;

-- name: take
-- One action that is not complete and that nobody else works on, until the end of the transaction; any of them, so that a
-- long one does not hold up the others. Nothing is made again in the workspaces $1. `set_config` as in `schedules.lock_due`.
SELECT id, workspace_id, action, filter, below, matched, done, failed, created_by, created_at, completed_at,
       set_config('idle_in_transaction_session_timeout', '10s', true)
FROM bulk_actions
WHERE completed_at IS NULL AND (action = 'cancel' OR NOT workspace_id = ANY ($1::uuid[]))
ORDER BY random() LIMIT 1 FOR UPDATE SKIP LOCKED;

-- name: move_on
-- Notes what a batch did of an action ($1): runs matched, done and failed, and where to go on ($2; null: it is complete).
UPDATE bulk_actions
SET below = coalesce($2, below), matched = matched + $3, done = done + $4, failed = failed + $5,
    completed_at = CASE WHEN $2 IS NULL THEN now() END
WHERE id = $1;
