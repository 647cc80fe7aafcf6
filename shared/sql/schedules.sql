-- name: lock_due
-- Takes at most $1 workflows whose slot is due and came after the moment $2 seconds ago, or, with $3, before it.
-- `set_config` bounds how long a process that is stopped in the middle of this transaction can keep them from the others.
SELECT w.id, w.workspace_id, w.next_run_at, w.schedule_type, w.schedule_value, w.timezone, w.settings, now() AS now,
       set_config('idle_in_transaction_session_timeout', '10s', true)
FROM workflows w
WHERE w.is_active AND w.deleted_at IS NULL
  AND w.next_run_at <= now() - CASE WHEN $3::boolean THEN $2::float8 ELSE 0 END * interval '1 second'
  AND w.next_run_at > CASE WHEN $3::boolean THEN '-infinity' ELSE now() - $2::float8 * interval '1 second' END
ORDER BY w.next_run_at LIMIT $1 FOR NO KEY UPDATE SKIP LOCKED;

-- name: move
-- Moves locked workflows ($1) on to their next slots ($2; null: there is none). Slots that nothing can come back to are
-- dropped on the way.
WITH input AS (
    SELECT * FROM unnest($1::uuid[], $2::timestamptz[]) AS i (workflow_id, following)
), dropped AS (
    DELETE FROM schedule_slots s USING input i
    WHERE s.workflow_id = ANY (ARRAY[i.workflow_id]) AND s.slot < least(now(), i.following) - interval '2 days'
      AND s.created_at < now() - interval '2 days'
)
UPDATE workflows w SET next_run_at = i.following FROM input i WHERE w.id = ANY (ARRAY[i.workflow_id]);

-- name: take
-- Takes slots ($1 workspaces, $2 workflows, $3 slots, $4 run ids) of locked workflows; gives the run ids of those that had
-- not been taken before.
INSERT INTO schedule_slots (workspace_id, workflow_id, slot, run_id)
SELECT * FROM unnest($1::uuid[], $2::uuid[], $3::timestamptz[], $4::uuid[]) AS i (workspace_id, workflow_id, slot, run_id)
ORDER BY workflow_id, slot
ON CONFLICT (workflow_id, slot) DO NOTHING
RETURNING run_id;
