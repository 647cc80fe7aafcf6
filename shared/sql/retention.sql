-- name: expired_days
-- The days before the last $1 that still have partitions, oldest first.
SELECT expired_days($1) AS day;

-- name: expire_day
-- Drops or rewrites the partitions of a day; `expire_day` in shared/schema.sql.
SELECT expire_day($1);

-- name: set_keep_days
-- What a workflow's setting `keep_runs_days` says from now on; null: what the installation says.
UPDATE workflows SET keep_runs_days = $2 WHERE id = $1 AND keep_runs_days IS DISTINCT FROM $2;

-- name: keeping
-- The next $2 workflows behind $1 that keep their runs for a time of their own.
SELECT id FROM workflows WHERE keep_runs_days IS NOT NULL AND id > $1 ORDER BY id LIMIT $2;

-- name: hidden_runs
-- Takes at most $2 of the oldest runs that have ended and that their workflows ($1) hide, but not while the step that
-- started one and waits for it has yet to take up its end; what another scheduler is removing is passed over.
-- `set_config` as in `schedules.lock_due`.
SELECT o.id, set_config('idle_in_transaction_session_timeout', '10s', true)
FROM unnest($1::uuid[]) AS k (id)
CROSS JOIN LATERAL (SELECT id, keep_runs_days FROM workflows WHERE id = k.id AND keep_runs_days IS NOT NULL OFFSET 0) AS w
CROSS JOIN LATERAL (
    SELECT id FROM runs
    WHERE workflow_id = w.id AND id < shown_from(w.keep_runs_days) AND completed_at IS NOT NULL
      AND (NOT parent_waits OR NOT EXISTS (
              SELECT FROM open_steps s WHERE s.run_id = runs.parent_run_id AND s.child_run_id = runs.id))
    ORDER BY id LIMIT $2 FOR UPDATE SKIP LOCKED) AS o
ORDER BY o.id LIMIT $2;

-- name: old_joins
-- Removes at most $2 join counts of runs from before the last $1 days that are gone.
DELETE FROM joins WHERE ctid = ANY (ARRAY(
    SELECT l.ctid FROM joins l
    WHERE l.run_id < shown_from($1) AND (SELECT true FROM runs r WHERE r.id = l.run_id) IS NULL
    ORDER BY l.run_id LIMIT $2 FOR UPDATE OF l SKIP LOCKED));

-- name: old_iterations
-- Removes at most $2 iterations of runs from before the last $1 days that are gone.
DELETE FROM iterations WHERE ctid = ANY (ARRAY(
    SELECT l.ctid FROM iterations l
    WHERE l.run_id < shown_from($1) AND (SELECT true FROM runs r WHERE r.id = l.run_id) IS NULL
    ORDER BY l.run_id LIMIT $2 FOR UPDATE OF l SKIP LOCKED));

-- name: old_answers
-- Removes at most $2 answers for runs from before the last $1 days that are gone.
DELETE FROM answers WHERE ctid = ANY (ARRAY(
    SELECT l.ctid FROM answers l
    WHERE l.run_id < shown_from($1) AND (SELECT true FROM runs r WHERE r.id = l.run_id) IS NULL
    ORDER BY l.run_id LIMIT $2 FOR UPDATE OF l SKIP LOCKED));

-- name: old_slots
-- Removes at most $2 slots from before the last $1 days; nothing can come back to them.
DELETE FROM schedule_slots WHERE ctid = ANY (ARRAY(
    SELECT ctid FROM schedule_slots WHERE created_at < now() - make_interval(days => $1)
    ORDER BY created_at LIMIT $2 FOR UPDATE SKIP LOCKED));

-- name: old_dedupe
-- Removes at most $2 keys of triggers from before the last $1 days; a key is good for 24 hours.
DELETE FROM dedupe WHERE ctid = ANY (ARRAY(
    SELECT ctid FROM dedupe WHERE created_at < now() - make_interval(days => $1)
    ORDER BY created_at LIMIT $2 FOR UPDATE SKIP LOCKED));
