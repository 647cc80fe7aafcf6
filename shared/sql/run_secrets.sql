-- name: note
-- Secrets that runs are about to use; those that are known of a run stay as they are.
INSERT INTO run_secrets (run_id, workspace_id, digest, secret)
SELECT * FROM unnest($1::uuid[], $2::uuid[], $3::bytea[], $4::bytea[]) ON CONFLICT (run_id, digest) DO NOTHING;

-- name: of_runs
-- What runs have used so far.
SELECT run_id, secret FROM run_secrets WHERE run_id = ANY ($1::uuid[]);

-- name: remove_old
-- Removes at most $1 secrets of runs that have ended: nothing is recorded of them any more.
DELETE FROM run_secrets WHERE ctid = ANY (ARRAY(
    SELECT s.ctid FROM run_secrets s WHERE NOT EXISTS (SELECT 1 FROM open_steps o WHERE o.run_id = s.run_id)
    LIMIT $1 FOR UPDATE OF s SKIP LOCKED));
