-- name: probe
-- Whether there is anything for the duties: waits that are over, steps to send, schedules that are due; runs that queue
-- for a slot, deleted workflows, actions over many runs, replays; any open step at all; and in how many seconds the next
-- wait is over or the next schedule is due. Each looks at the head of one index.
WITH heads AS MATERIALIZED (
    SELECT (SELECT due_at FROM open_steps WHERE status = 'waiting' ORDER BY due_at LIMIT 1) AS wait,
           (SELECT next_run_at FROM workflows WHERE is_active AND deleted_at IS NULL AND next_run_at IS NOT NULL
            ORDER BY next_run_at LIMIT 1) AS slot
)
SELECT coalesce(wait <= now(), false) AS waits,
       (SELECT true FROM open_steps WHERE status = 'ready' AND sent_at IS NULL
        ORDER BY priority, workspace_id, workflow_id, run_id LIMIT 1) IS NOT NULL AS unsent,
       coalesce(slot <= now(), false) AS slots,
       (SELECT true FROM open_steps WHERE status = 'waiting' AND waits = 'concurrency'
        ORDER BY workflow_id, run_id LIMIT 1) IS NOT NULL AS queued,
       (SELECT true FROM workflows WHERE deleted_at IS NOT NULL ORDER BY deleted_at LIMIT 1) IS NOT NULL AS deleted,
       (SELECT true FROM bulk_actions WHERE completed_at IS NULL ORDER BY id LIMIT 1) IS NOT NULL AS bulk,
       coalesce((SELECT next_at FROM delivery_replays WHERE completed_at IS NULL ORDER BY next_at LIMIT 1) <= now(), false)
           AS replays,
       (SELECT true FROM open_steps WHERE status = 'running' ORDER BY incarnation_id LIMIT 1) IS NOT NULL
       OR (SELECT true FROM open_steps WHERE status = 'waiting' ORDER BY due_at LIMIT 1) IS NOT NULL
       OR (SELECT true FROM open_steps WHERE status = 'ready' AND sent_at IS NOT NULL ORDER BY sent_at LIMIT 1) IS NOT NULL
       OR (SELECT true FROM open_steps WHERE status = 'ready' AND sent_at IS NULL
           ORDER BY priority, workspace_id, workflow_id, run_id LIMIT 1) IS NOT NULL AS open,
       extract(epoch FROM least(wait, slot) - clock_timestamp())::float8 AS due_in
FROM heads;

-- name: wake_retries
-- Makes at most $1 steps ready whose next attempt is due. Code before 0002 left `waits` null; its retries are what must be
-- claimed first.
UPDATE open_steps
SET status = 'ready', waits = NULL, sent_at = now(), sends = 1
WHERE ctid = ANY (ARRAY(SELECT ctid FROM open_steps
                        WHERE status = 'waiting' AND due_at <= now() AND coalesce(waits = 'retry', claim_first)
                        ORDER BY due_at LIMIT $1 FOR UPDATE SKIP LOCKED))
RETURNING run_id, node_id, item, true AS claim, priority, false AS new, false AS bulk, false AS ended;

-- name: wake_timers
-- Ends at most $1 waits whose time has come: delays, and time-outs of waits for others; `wake_steps` in shared/schema.sql.
SELECT w.run_id, w.node_id, w.item, false AS claim, w.priority, false AS new, false AS bulk, false AS ended
FROM (SELECT array_agg(run_id) AS runs, array_agg(node_id) AS nodes, array_agg(item) AS items
      FROM (SELECT run_id, node_id, item FROM open_steps
            WHERE status = 'waiting' AND due_at <= now() AND NOT coalesce(waits = 'retry', claim_first)
            ORDER BY due_at LIMIT $1) AS due) AS d
CROSS JOIN LATERAL wake_steps(d.runs, d.nodes, d.items, 'timer', true) AS w;

-- name: top_up
-- Marks about $1 steps as sent, shared out evenly over workspaces and then over workflows, and at most so many of each
-- workflow and of each workspace that $2 of its steps are sent and not yet taken; a workflow of which fewer than $4 are
-- may be sent up to that whatever its workspace has. $3: the most workflows looked at. `bulk`: its
-- workflow now has more than $4 of them.
-- A skip scan finds the workflows, so a hundred thousand steps of one cost no more than one of each.
WITH RECURSIVE flows AS (
    (SELECT priority, workspace_id, workflow_id FROM open_steps
     WHERE status = 'ready' AND sent_at IS NULL
     ORDER BY priority, workspace_id, workflow_id, run_id LIMIT 1)
    UNION ALL
    SELECT n.priority, n.workspace_id, n.workflow_id
    FROM flows f CROSS JOIN LATERAL (
        SELECT o.priority, o.workspace_id, o.workflow_id FROM open_steps o
        WHERE o.status = 'ready' AND o.sent_at IS NULL
          AND (o.priority, o.workspace_id, o.workflow_id) > (f.priority, f.workspace_id, f.workflow_id)
        ORDER BY o.priority, o.workspace_id, o.workflow_id, o.run_id LIMIT 1) n
), counted AS MATERIALIZED (
    SELECT workflow_id, workspace_id, count(*) AS sent FROM open_steps
    WHERE status = 'ready' AND sent_at IS NOT NULL GROUP BY workflow_id, workspace_id
), crowded AS MATERIALIZED (
    SELECT workspace_id, sum(sent) AS sent FROM counted GROUP BY workspace_id
), rooms AS MATERIALIZED (
    SELECT f.priority, f.workspace_id, f.workflow_id, least($2::int, greatest(
               least($2::int - coalesce(c.sent, 0), $2::int - coalesce(w.sent, 0)), $4::int - coalesce(c.sent, 0))) AS room
    FROM flows f LEFT JOIN counted c USING (workflow_id) LEFT JOIN crowded w ON w.workspace_id = f.workspace_id
), roomy AS MATERIALIZED (
    SELECT * FROM rooms WHERE room > 0 LIMIT $3
), shares AS MATERIALIZED (
    SELECT r.*, ceil($1::float8 / (SELECT count(DISTINCT workspace_id) FROM roomy)
                     / count(*) OVER (PARTITION BY r.workspace_id)) AS share
    FROM roomy r
), picked AS MATERIALIZED (
    SELECT p.tid
    FROM shares s CROSS JOIN LATERAL (
        SELECT o.ctid AS tid FROM open_steps o
        WHERE o.status = 'ready' AND o.sent_at IS NULL AND o.priority = s.priority
          AND o.workspace_id = s.workspace_id AND o.workflow_id = s.workflow_id
        ORDER BY o.priority, o.workspace_id, o.workflow_id, o.run_id
        LIMIT least(s.room, s.share)::bigint FOR UPDATE SKIP LOCKED) p
), marked AS (
    UPDATE open_steps SET sent_at = now(), sends = least(sends + 1, 32000)
    WHERE ctid = ANY (ARRAY(SELECT tid FROM picked))
    RETURNING run_id, node_id, item, workflow_id, priority, sends, claim_first
)
SELECT m.run_id, m.node_id, m.item, m.claim_first OR m.sends > 1 AS claim, m.priority,
       NOT m.claim_first AND m.sends = 1 AS new,
       coalesce(c.sent, 0) + count(*) OVER (PARTITION BY m.workflow_id) > $4::int AS bulk,
       coalesce((SELECT r.outcome IS NOT NULL FROM runs r WHERE r.id = m.run_id), false) AS ended
FROM marked m LEFT JOIN counted c USING (workflow_id)
ORDER BY m.priority, row_number() OVER (PARTITION BY m.priority, m.workflow_id ORDER BY m.run_id);

-- name: resend
-- Marks at most $1 steps as sent again whose message must be lost: sent more than 5 s ago, doubled with each sending up
-- to 5 min, and before the oldest message that is still queued for their priority in the light lanes ($2, an array: high,
-- normal, low; seconds of unix time, infinity when nothing is). Of workflows with more than $4 steps sent and not taken,
-- messages may stand in the bulk lanes ($3), too; for the others these do not count, or a lost step of theirs would wait
-- for the flood of another, and at most $4 messages of theirs are sent in vain. `bulk`: beyond $4 of its workflow.
WITH crowding AS MATERIALIZED (
    SELECT workflow_id FROM open_steps
    WHERE status = 'ready' AND sent_at IS NOT NULL GROUP BY workflow_id HAVING count(*) > $4::int
), marked AS (
    UPDATE open_steps SET sent_at = now(), sends = least(sends + 1, 32000)
    WHERE ctid = ANY (ARRAY(
              SELECT ctid FROM open_steps
              WHERE status = 'ready'
                AND sent_at < least(now() - interval '5 seconds',
                                    to_timestamp(greatest(($2::float8[])[1], ($2::float8[])[2], ($2::float8[])[3])))
                AND sent_at < to_timestamp(($2::float8[])[priority + 1])
                AND (sent_at < to_timestamp(($3::float8[])[priority + 1])
                     OR workflow_id NOT IN (SELECT c.workflow_id FROM crowding c))
                AND sent_at < now() - least(300, 5 * power(2, least(greatest(sends - 1, 0), 8))) * interval '1 second'
              ORDER BY sent_at LIMIT $1 FOR UPDATE SKIP LOCKED))
    RETURNING run_id, node_id, item, workflow_id, priority
)
SELECT m.run_id, m.node_id, m.item, true AS claim, m.priority, false AS new,
       row_number() OVER (PARTITION BY m.workflow_id ORDER BY m.run_id) > $4::int AS bulk,
       coalesce((SELECT r.outcome IS NOT NULL FROM runs r WHERE r.id = m.run_id), false) AS ended
FROM marked m;

-- name: unsend
-- Takes back at most $2 messages that were sent up to the moment $1, since the broker was emptied: top-up sends them
-- again. What is sent again is claimed first.
UPDATE open_steps SET sent_at = NULL, sends = 0, claim_first = true
WHERE ctid = ANY (ARRAY(SELECT ctid FROM open_steps WHERE status = 'ready' AND sent_at <= $1
                        ORDER BY sent_at LIMIT $2 FOR UPDATE SKIP LOCKED));

-- name: now
-- Postgres's time, and since when this postmaster runs.
SELECT clock_timestamp() AS now, pg_postmaster_start_time() AS started;

-- name: rescue
-- Declares incarnations dead whose last heartbeat is older than $2 seconds (only if $1), and gives at most $3 of the
-- steps back that dead ones hold, in one transaction; those too that one claimed after its death. Steps of an
-- incarnation that has no row are given back once they are older than a lease: its row may be on its way.
-- Steps of runs that are being ended stay, for `lost_of_ended`.
WITH RECURSIVE holders AS (
    (SELECT incarnation_id AS id FROM open_steps WHERE status = 'running' ORDER BY incarnation_id LIMIT 1)
    UNION ALL
    SELECT (SELECT o.incarnation_id FROM open_steps o
            WHERE o.status = 'running' AND o.incarnation_id > h.id ORDER BY o.incarnation_id LIMIT 1)
    FROM holders h WHERE h.id IS NOT NULL
), died AS (
    UPDATE incarnations SET dead_at = clock_timestamp()
    WHERE $1::boolean AND dead_at IS NULL AND heartbeat_at < now() - $2::float8 * interval '1 second'
    RETURNING id
), gone AS MATERIALIZED (
    SELECT h.id, i.id IS NOT NULL AS known
    FROM holders h LEFT JOIN incarnations i ON i.id = h.id
    WHERE h.id IS NOT NULL AND (i.id IS NULL OR i.dead_at IS NOT NULL OR h.id IN (SELECT id FROM died))
), returned AS (
    UPDATE open_steps
    SET status = 'ready', claim_id = NULL, incarnation_id = NULL, sent_at = NULL, sends = 0, claim_first = true,
        crashes = least(crashes + 1, 32000)
    WHERE ctid = ANY (ARRAY(
              SELECT p.tid FROM gone g CROSS JOIN LATERAL (
                  SELECT o.ctid AS tid FROM open_steps o
                  WHERE o.status = 'running' AND o.incarnation_id = g.id
                    AND (g.known OR o.started_at < now() - $2::float8 * interval '1 second')
                    AND (SELECT r.outcome FROM runs r WHERE r.id = o.run_id) IS NULL
                  LIMIT $3 FOR UPDATE OF o SKIP LOCKED) p
              LIMIT $3))
    RETURNING 1
)
SELECT (SELECT count(*) FROM died) AS died, (SELECT count(*) FROM returned) AS returned,
       EXISTS (SELECT 1 FROM gone) AS gone;

-- name: lost_of_ended
-- At most $1 runs that are being ended and have a step which a dead incarnation holds.
SELECT DISTINCT o.run_id FROM open_steps o
WHERE o.status = 'running'
  AND NOT EXISTS (SELECT 1 FROM incarnations i WHERE i.id = o.incarnation_id AND i.dead_at IS NULL)
  AND (SELECT r.outcome FROM runs r WHERE r.id = o.run_id) IS NOT NULL
LIMIT $1;

-- name: gauges
-- How many open steps there are of each kind, and the oldest of each by when it was sent and by its run's id.
SELECT priority, status, sent_at IS NOT NULL AS sent, count(*) AS steps, min(sent_at) AS sent_at,
       min(run_id::text) AS run_id, now() AS now
FROM open_steps GROUP BY 1, 2, 3;
