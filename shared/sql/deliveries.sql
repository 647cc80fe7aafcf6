-- name: add
-- Requests that made no run. One whose workflow was removed meanwhile is nobody's.
INSERT INTO deliveries (id, workspace_id, workflow_id, run_id, status, outcome, code, request, whole)
SELECT * FROM unnest($1::uuid[], $2::uuid[], $3::uuid[], $4::uuid[], $5::smallint[], $6::text[], $7::text[], $8::text[],
                     $9::boolean[])
ON CONFLICT (id) DO NOTHING;

-- name: page
-- Requests to the webhook of a workflow ($1) with ids in ($2, $3), newest first, $4 at most; $5 (null: any): outcomes. What
-- made a run is its run's row, as long as the workflow shows it; reruns and replays, which somebody started, are none. Of each
-- kind the newest $6 are looked at; the last row, `seen` alone, is where to go on if there were so many. Requests of more
-- than $7 bytes are left out.
WITH accepted AS MATERIALIZED (
    SELECT r.id, r.trigger_type = 'webhook' AND r.started_by IS NULL AND r.rerun_of IS NULL AS is_one, r.trigger_payload
    FROM runs r WHERE r.workflow_id = $1 AND r.id > $2 AND r.id < $3
      AND ($5::text[] IS NULL OR 'accepted' = ANY ($5::text[]))
      AND r.id >= (SELECT shown_from(keep_runs_days) FROM workflows WHERE id = $1)
    ORDER BY r.id DESC LIMIT $6
), others AS MATERIALIZED (
    SELECT * FROM deliveries WHERE workflow_id = $1 AND id > $2 AND id < $3 ORDER BY id DESC LIMIT $6
), bound AS (
    SELECT max(id::text)::uuid AS id FROM (
        (SELECT min(id::text)::uuid AS id FROM accepted HAVING count(*) = $6)
        UNION ALL (SELECT min(id::text)::uuid FROM others HAVING count(*) = $6)) AS b
), found AS (
    SELECT id, id AS run_id, 202::smallint AS status, 'accepted' AS outcome, NULL AS code, trigger_payload AS request,
           true AS whole FROM accepted WHERE is_one
    UNION ALL
    SELECT id, run_id, status, outcome, code, request, whole FROM others WHERE $5::text[] IS NULL OR outcome = ANY ($5::text[])
)
(SELECT f.id, f.run_id, f.status, f.outcome, f.code, CASE WHEN octet_length(f.request) <= $7 THEN f.request END, f.whole,
        false AS seen
 FROM found f WHERE f.id >= coalesce((SELECT id FROM bound), f.id) ORDER BY f.id DESC LIMIT $4)
UNION ALL
(SELECT id, NULL, NULL, NULL, NULL, NULL, NULL, true FROM bound WHERE id IS NOT NULL);

-- name: refused
-- One request that made no run.
SELECT d.id, d.run_id, d.status, d.outcome, d.code, d.request, d.whole, d.workflow_id FROM deliveries d
CROSS JOIN LATERAL (SELECT deleted_at FROM workflows WHERE id = d.workflow_id OFFSET 0) AS w
WHERE d.id = $2 AND d.workspace_id = $1 AND w.deleted_at IS NULL;

-- name: accepted
-- One request that made a run, by the run's id.
SELECT r.id, r.id AS run_id, 202::smallint AS status, 'accepted' AS outcome, NULL AS code, r.trigger_payload AS request,
       true AS whole, r.workflow_id
FROM runs r CROSS JOIN LATERAL (SELECT deleted_at FROM workflows WHERE id = r.workflow_id OFFSET 0) AS w
WHERE r.id = $2 AND r.workspace_id = $1 AND w.deleted_at IS NULL AND r.trigger_type = 'webhook' AND r.started_by IS NULL AND r.rerun_of IS NULL;

-- name: to_replay
-- What is to be replayed of a workflow ($1) with ids in ($2, $3), oldest first, $4 at most; $5 (null: any): outcomes. What
-- was not kept whole comes too, and fails. Of each kind the oldest $6 are looked at; the last row, `seen` alone, is where
-- to go on if there were so many.
WITH accepted AS MATERIALIZED (
    SELECT r.id, r.trigger_type = 'webhook' AND r.started_by IS NULL AND r.rerun_of IS NULL AS is_one, r.trigger_payload
    FROM runs r WHERE r.workflow_id = $1 AND r.id > $2 AND r.id < $3
      AND ($5::text[] IS NULL OR 'accepted' = ANY ($5::text[]))
    ORDER BY r.id LIMIT $6
), others AS MATERIALIZED (
    SELECT * FROM deliveries WHERE workflow_id = $1 AND id > $2 AND id < $3 ORDER BY id LIMIT $6
), bound AS (
    SELECT min(id::text)::uuid AS id FROM (
        (SELECT max(id::text)::uuid AS id FROM accepted HAVING count(*) = $6)
        UNION ALL (SELECT max(id::text)::uuid FROM others HAVING count(*) = $6)) AS b
), found AS (
    SELECT id, trigger_payload AS request, true AS whole FROM accepted WHERE is_one
    UNION ALL
    SELECT id, request, whole FROM others WHERE $5::text[] IS NULL OR outcome = ANY ($5::text[])
)
(SELECT f.*, false AS seen FROM found f WHERE f.id <= coalesce((SELECT id FROM bound), f.id) ORDER BY f.id LIMIT $4)
UNION ALL
(SELECT id, NULL, NULL, true FROM bound WHERE id IS NOT NULL);

-- name: add_replay
-- A new replay of many deliveries, nothing of it done yet.
INSERT INTO delivery_replays (id, workspace_id, workflow_id, filter, above, below, per_second, created_by)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
RETURNING id, workspace_id, workflow_id, filter, above, below, per_second, matched, done, failed, created_by, created_at,
          completed_at;

-- name: get_replay
-- A replay of a workspace, and how far it is.
SELECT id, workspace_id, workflow_id, filter, above, below, per_second, matched, done, failed, created_by, created_at,
       completed_at
FROM delivery_replays WHERE workspace_id = $1 AND id = $2;

-- name: take_replay
-- One replay, of none of the workspaces $1, whose next batch is due and that nobody else works on, until the end of the transaction. `set_config` as in
-- `schedules.lock_due`.
SELECT id, workspace_id, workflow_id, filter, above, below, per_second, matched, done, failed, created_by, created_at,
       completed_at, set_config('idle_in_transaction_session_timeout', '10s', true)
FROM delivery_replays WHERE completed_at IS NULL AND next_at <= now() AND NOT workspace_id = ANY ($1::uuid[])
ORDER BY next_at LIMIT 1 FOR UPDATE SKIP LOCKED;

-- name: move_replay
-- Notes what a batch did of a replay ($1): where to go on ($2; null: it is complete), deliveries matched, done and failed; the
-- next batch is due in $6 seconds.
UPDATE delivery_replays
SET above = coalesce($2, above), matched = matched + $3, done = done + $4, failed = failed + $5,
    next_at = now() + make_interval(secs => $6), completed_at = CASE WHEN $2::uuid IS NULL THEN now() END
WHERE id = $1;

-- name: delete_old
-- Removes at most $2 requests older than $1 days.
DELETE FROM deliveries WHERE id = ANY (ARRAY(
    SELECT id FROM deliveries WHERE id < uuid7_floor(now() - make_interval(days => $1)) ORDER BY id LIMIT $2
    FOR UPDATE SKIP LOCKED));

-- name: delete_of
-- Removes at most $2 requests of a deleted workflow.
DELETE FROM deliveries WHERE id = ANY (ARRAY(SELECT id FROM deliveries WHERE workflow_id = $1 ORDER BY id LIMIT $2));

-- name: delete_old_replays
-- Removes at most $2 replays that were completed more than $1 days ago.
DELETE FROM delivery_replays WHERE id = ANY (ARRAY(
    SELECT id FROM delivery_replays WHERE completed_at < now() - make_interval(days => $1) ORDER BY id LIMIT $2
    FOR UPDATE SKIP LOCKED));
