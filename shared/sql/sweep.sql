-- name: lock_deleted
-- Takes at most $1 deleted workflows; in random order, so that some whose steps are still in flight don't hold up the
-- others. `set_config` as in `schedules.lock_due`.
SELECT id, set_config('idle_in_transaction_session_timeout', '10s', true) FROM workflows WHERE deleted_at IS NOT NULL ORDER BY random() LIMIT $1 FOR UPDATE SKIP LOCKED;

-- name: ended_runs
-- At most $2 terminal runs of a workflow, in id order.
SELECT id FROM runs WHERE workflow_id = $1 AND completed_at IS NOT NULL ORDER BY id LIMIT $2;

-- name: delete_steps
-- Removes the settled steps of runs ($1, least $2, greatest $3).
DELETE FROM steps WHERE run_id = ANY ($1::uuid[]) AND run_id BETWEEN $2::uuid AND $3::uuid;

-- name: delete_joins
-- Removes the join counts of runs.
DELETE FROM joins WHERE run_id = ANY ($1::uuid[]);

-- name: delete_iterations
-- Removes the iterations of runs.
DELETE FROM iterations WHERE run_id = ANY ($1::uuid[]);

-- name: delete_answers
-- Removes the answers for runs.
DELETE FROM answers WHERE run_id = ANY ($1::uuid[]);

-- name: delete_items
-- Removes the items of runs ($1, least $2, greatest $3).
DELETE FROM items WHERE run_id = ANY ($1::uuid[]) AND run_id BETWEEN $2::uuid AND $3::uuid;

-- name: delete_runs
-- Removes terminal runs ($1, least $2, greatest $3).
DELETE FROM runs WHERE id = ANY ($1::uuid[]) AND id BETWEEN $2::uuid AND $3::uuid AND completed_at IS NOT NULL;

-- name: delete_slots
-- Removes at most $2 slots of a workflow.
DELETE FROM schedule_slots WHERE workflow_id = $1
    AND slot = ANY (ARRAY(SELECT slot FROM schedule_slots WHERE workflow_id = $1 ORDER BY slot LIMIT $2));

-- name: delete_dedupe
-- Removes at most $2 dedupe keys of a workflow.
DELETE FROM dedupe WHERE workflow_id = $1
    AND key = ANY (ARRAY(SELECT key FROM dedupe WHERE workflow_id = $1 ORDER BY key LIMIT $2));

-- name: delete_workflow
-- Removes a deleted workflow and its versions, once nothing else of it is left.
DELETE FROM workflows w WHERE w.id = $1 AND w.deleted_at IS NOT NULL
    AND NOT EXISTS (SELECT 1 FROM runs r WHERE r.workflow_id = w.id)
    AND NOT EXISTS (SELECT 1 FROM schedule_slots s WHERE s.workflow_id = w.id);

-- name: old_joins
-- Removes at most $1 join counts of terminal runs.
DELETE FROM joins WHERE ctid = ANY (ARRAY(
    SELECT j.ctid FROM joins j
    WHERE (SELECT r.completed_at FROM runs r WHERE r.id = j.run_id) IS NOT NULL
    LIMIT $1 FOR UPDATE OF j SKIP LOCKED));

-- name: old_idempotency
-- Removes at most $1 kept answers older than 24 hours.
DELETE FROM idempotency WHERE ctid = ANY (ARRAY(
    SELECT ctid FROM idempotency WHERE created_at < now() - interval '24 hours'
    ORDER BY created_at LIMIT $1 FOR UPDATE SKIP LOCKED));

-- name: old_dedupe
-- Removes at most $1 dedupe keys older than 24 hours, which no trigger is a repeat of any more.
DELETE FROM dedupe WHERE ctid = ANY (ARRAY(
    SELECT ctid FROM dedupe WHERE created_at < now() - interval '24 hours'
    ORDER BY created_at LIMIT $1 FOR UPDATE SKIP LOCKED))
  AND created_at < now() - interval '24 hours';

-- name: old_incarnations
-- Removes at most $1 incarnations that died more than a day ago and hold nothing.
DELETE FROM incarnations WHERE id = ANY (ARRAY(
    SELECT i.id FROM incarnations i
    WHERE i.dead_at < now() - interval '1 day'
      AND NOT EXISTS (SELECT 1 FROM open_steps o WHERE o.status = 'running' AND o.incarnation_id = i.id)
    LIMIT $1 FOR UPDATE OF i SKIP LOCKED));
