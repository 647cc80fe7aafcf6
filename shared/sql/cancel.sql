-- name: tree
-- These runs, with $2 the runs that their open steps wait for, and so on down; and for each the run that waits for it.
WITH RECURSIVE tree AS (
    SELECT id FROM unnest($1::uuid[]) AS x (id)
    UNION
    SELECT o.awaited FROM tree t CROSS JOIN LATERAL (
        SELECT CASE WHEN status = 'waiting' THEN child_run_id END AS awaited FROM open_steps
        WHERE run_id = t.id OFFSET 0) AS o
    WHERE $2::boolean AND o.awaited IS NOT NULL
)
SELECT t.id, r.caller FROM tree t CROSS JOIN LATERAL (
    SELECT CASE WHEN parent_waits THEN parent_run_id END AS caller FROM runs WHERE id = t.id OFFSET 0) AS r;

-- name: lock
-- Locks the runs among $1 (least $2, greatest $3) that are not terminal. A statement of its own: the next one then sees
-- every step that was opened by whoever had the lock before. `set_config` bounds how long a process that is stopped
-- between the two keeps them locked.
SELECT id, set_config('idle_in_transaction_session_timeout', '10s', true) FROM runs WHERE id = ANY ($1::uuid[]) AND id BETWEEN $2::uuid AND $3::uuid AND completed_at IS NULL
ORDER BY id FOR NO KEY UPDATE;

-- name: settle
-- Settles what can be settled of runs that are locked and being ended ($1-$3 as in `lock`): their ready and waiting
-- steps, and those a dead incarnation holds, are recorded as cancelled; a run none of whose steps is left is terminal.
-- $4: they are being ended by this very statement, and steps in flight are stopped; a run that another outcome was
-- decided for keeps that. $5: they have failed, and why; null: they are cancelled.
WITH ending AS MATERIALIZED (
    SELECT id, workspace_id, seq FROM runs
    WHERE id = ANY ($1::uuid[]) AND id BETWEEN $2::uuid AND $3::uuid AND completed_at IS NULL
      AND ($4::boolean OR outcome IS NOT NULL)
), locked AS MATERIALIZED (
    SELECT o.run_id, o.node_id, o.item, o.status, o.incarnation_id, coalesce(o.started_at, now()) AS started_at
    FROM ending e JOIN open_steps o ON o.run_id = e.id AND o.run_id = ANY ($1::uuid[])
    ORDER BY o.run_id, o.node_id, o.item FOR UPDATE OF o
), judged AS MATERIALIZED (
    SELECT l.*, l.status = 'running' AND coalesce(
               (SELECT i.dead_at IS NULL FROM incarnations i WHERE i.id = l.incarnation_id), false) AS in_flight
    FROM locked l
), removed AS (
    DELETE FROM open_steps o USING judged j
    WHERE o.run_id = ANY (ARRAY[j.run_id]) AND o.node_id = j.node_id AND o.item = j.item AND NOT j.in_flight
    RETURNING o.run_id, o.node_id, o.item, o.attempt, o.wake, j.started_at
), stopped AS (
    UPDATE open_steps o SET stop = true FROM judged j
    WHERE $4::boolean AND o.run_id = ANY (ARRAY[j.run_id]) AND o.node_id = j.node_id AND o.item = j.item AND j.in_flight
      AND NOT o.stop
), recorded AS (
    INSERT INTO steps (run_id, workspace_id, seq, duration_ms, started_at, attempt, node_id, item, status)
    SELECT c.run_id, e.workspace_id,
           e.seq + (row_number() OVER (PARTITION BY c.run_id ORDER BY c.node_id, c.item))::int - 1, 0, c.started_at, c.attempt,
           c.node_id, c.item, 'cancelled'
    FROM removed c JOIN ending e ON e.id = c.run_id
    WHERE c.wake IS DISTINCT FROM 'item'  -- the start of an item is no step of its own
), ended AS (
    UPDATE runs r
    SET outcome = coalesce(r.outcome, CASE WHEN $5::text IS NULL THEN 'cancelled' ELSE 'failed' END),
        error_message = CASE WHEN r.outcome IS NULL THEN coalesce($5, r.error_message) ELSE r.error_message END,
        cancel_requested_at = CASE WHEN $4::boolean AND $5 IS NULL THEN coalesce(r.cancel_requested_at, now())
                                   ELSE r.cancel_requested_at END,
        open_steps = r.open_steps - n.steps,
        seq = r.seq + n.steps,
        status = CASE WHEN r.open_steps = n.steps 
                      THEN coalesce(r.outcome, CASE WHEN $5 IS NULL THEN 'cancelled' ELSE 'failed' END) ELSE r.status END,
        completed_at = CASE WHEN r.open_steps = n.steps THEN clock_timestamp() END
    FROM (SELECT e.id, count(c.run_id)::int AS steps FROM ending e LEFT JOIN removed c ON c.run_id = e.id GROUP BY e.id) n
    WHERE r.id = n.id AND r.id BETWEEN $2::uuid AND $3::uuid
    RETURNING r.id, r.status, r.trigger_type, r.completed_at,
              extract(epoch FROM r.completed_at - r.created_at)::float8 AS seconds
)
SELECT id, CASE WHEN completed_at IS NOT NULL THEN status END AS status, trigger_type, seconds FROM ended;

-- name: open_runs
-- At most $2 runs of a workflow that are not terminal, in id order.
SELECT DISTINCT run_id FROM open_steps WHERE workflow_id = $1 ORDER BY run_id LIMIT $2;

-- name: after
-- What follows from the ends of runs, in the transaction that ends them: `run_ended` in shared/schema.sql. Gives the steps
-- that may run now.
SELECT o.run_id, o.node_id, o.item, o.run_id IS DISTINCT FROM (SELECT parent_run_id FROM runs WHERE id = x.id) AS starts
FROM unnest($1::uuid[]) AS x (id)
CROSS JOIN LATERAL run_ended(x.id) AS o;

-- name: unsend
-- Leaves steps to the next top-up, since nobody here sends messages.
UPDATE open_steps o SET sent_at = NULL, sends = 0
FROM unnest($1::uuid[], $2::text[], $3::text[]) AS x (run_id, node_id, item)
WHERE o.run_id = ANY (ARRAY[x.run_id]) AND o.node_id = x.node_id AND o.item = x.item AND o.status = 'ready';
