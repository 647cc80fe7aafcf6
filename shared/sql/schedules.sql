-- name: lock_due
-- Takes at most $1 workflows whose slot is due. `set_config` bounds how long a process that is stopped in the middle of
-- this transaction can keep them from the others.
SELECT w.id, w.workspace_id, w.next_run_at, w.schedule_type, w.schedule_value, w.timezone, w.settings, now() AS now,
       set_config('idle_in_transaction_session_timeout', '10s', true)
FROM workflows w
WHERE w.is_active AND w.deleted_at IS NULL AND w.next_run_at <= now()
ORDER BY w.next_run_at LIMIT $1 FOR NO KEY UPDATE SKIP LOCKED;

-- name: fire
-- Takes slots ($1 workspaces, $2 workflows, $3 slots, $4 run ids) and moves their workflows on to the next ($5), all of
-- them locked. Gives the run ids of the slots that had not been taken before; a null slot takes none. Slots that nothing
-- can come back to are dropped on the way.
WITH input AS (
    SELECT * FROM unnest($1::uuid[], $2::uuid[], $3::timestamptz[], $4::uuid[], $5::timestamptz[])
        AS i (workspace_id, workflow_id, slot, run_id, following)
), moved AS (
    UPDATE workflows w SET next_run_at = i.following FROM input i WHERE w.id = i.workflow_id
), dropped AS (
    DELETE FROM schedule_slots s USING input i
    WHERE s.workflow_id = i.workflow_id AND s.slot < least(now(), i.slot) - interval '2 days'
), taken AS (
    INSERT INTO schedule_slots (workspace_id, workflow_id, slot, run_id)
    SELECT workspace_id, workflow_id, slot, run_id FROM input WHERE slot IS NOT NULL
    ORDER BY workflow_id, slot
    ON CONFLICT (workflow_id, slot) DO NOTHING
    RETURNING run_id
)
SELECT run_id FROM taken;
