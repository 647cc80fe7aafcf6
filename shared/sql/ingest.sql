-- name: accept
-- Makes runs of triggers: a run and its first open step each. The join on workflows is what decides: a trigger whose
-- workflow is gone, inactive, has another webhook token or a trigger of another kind by now makes nothing, however
-- stale the caller's cache was.
-- $9: who started it; $10: the run it repeats; $11, $12: a version other than the current one, and its trigger node; $13:
-- the run's id as callers know it. What somebody started leaves an audit row.
-- A run id that exists is one of a batch whose outcome was unknown; `already_accepted` tells.
-- Payloads ($4) go from their array straight into the table: `unnest`, the CTE and the sort would each copy them, and
-- write batches of large ones to files (64 of 160 KB: 0.8 ms of CPU a run so, 3.1 ms otherwise).
WITH input AS (
    SELECT * FROM unnest($1::uuid[], $2::uuid[], $3::text[], $5::text[], $6::text[], $7::bytea[], $8::boolean[],
                         $9::text[], $10::uuid[], $11::integer[], $12::text[], $13::text[]) WITH ORDINALITY
        AS i (run_id, workflow_id, trigger_type, request_id, traceparent, token_hash, sent, started_by, rerun_of,
              own_version, own_trigger, target, place)
), wanted AS (
    SELECT i.*, w.workspace_id, coalesce(i.own_version, w.version) AS version, w.priority,
           coalesce(i.own_trigger, w.trigger_node) AS trigger_node, w.limited
    FROM input i CROSS JOIN LATERAL (SELECT * FROM workflows WHERE id = i.workflow_id OFFSET 0) AS w
    WHERE w.is_active AND w.deleted_at IS NULL
      AND (i.token_hash IS NULL
           OR w.trigger_component = 'webhook_trigger'
              AND (i.token_hash = w.webhook_token_hash
                   OR i.token_hash = w.previous_token_hash AND w.previous_token_until > now()))
), accepted AS (
    INSERT INTO runs (id, workspace_id, workflow_id, version, priority, trigger_type, trigger_payload, request_id,
                      traceparent, open_steps, started_by, rerun_of, slots)
    SELECT run_id, workspace_id, workflow_id, version, priority, trigger_type, ($4::text[])[place], request_id,
           traceparent, 1, started_by, rerun_of, CASE WHEN limited THEN -1 ELSE 0 END
    FROM (SELECT * FROM wanted ORDER BY run_id) AS ordered
    ON CONFLICT (id) DO NOTHING
    RETURNING id, workspace_id, workflow_id, version, priority, created_at
), audited AS (
    INSERT INTO audit (id, workspace_id, actor, action, target, after_digest, request_id)
    SELECT a.id, a.workspace_id, w.started_by, CASE WHEN w.rerun_of IS NULL THEN 'run.create' ELSE 'run.rerun' END, w.target,
           sha256(convert_to(($4::text[])[w.place], 'UTF8')), w.request_id
    FROM accepted a JOIN wanted w ON w.run_id = a.id WHERE w.started_by IS NOT NULL
), opened AS (
    INSERT INTO open_steps (run_id, node_id, workspace_id, workflow_id, priority, status, claim_first, sent_at, sends)
    SELECT a.id, w.trigger_node, a.workspace_id, a.workflow_id, a.priority, 'ready', w.limited,
           CASE WHEN w.sent THEN now() END, w.sent::int
    FROM accepted a JOIN wanted w ON w.run_id = a.id
    RETURNING run_id, node_id, claim_first
)
SELECT a.id, a.workspace_id, a.workflow_id, a.version, a.priority, a.created_at, o.node_id, o.claim_first
FROM accepted a JOIN opened o ON o.run_id = a.id;

-- name: accept_once
-- `accept` of a batch in which some have a dedupe key ($14, null: none): of several with one key of one workflow within 24
-- hours the first makes a run, and the others are told its id (`first_run`). Whoever comes second waits here for the first
-- one's commit, in whichever process that is. Keys are taken in their order, so batches cannot deadlock. It stands apart,
-- since a table more in a statement costs every batch, and most have no keys.
-- A batch whose outcome was unknown finds its own run behind the key: it is the first, its run exists, and
-- `already_accepted` tells.
WITH input AS (
    SELECT * FROM unnest($1::uuid[], $2::uuid[], $3::text[], $5::text[], $6::text[], $7::bytea[], $8::boolean[],
                         $9::text[], $10::uuid[], $11::integer[], $12::text[], $13::text[], $14::text[]) WITH ORDINALITY
        AS i (run_id, workflow_id, trigger_type, request_id, traceparent, token_hash, sent, started_by, rerun_of,
              own_version, own_trigger, target, key, place)
), wanted AS (
    SELECT i.*, w.workspace_id, coalesce(i.own_version, w.version) AS version, w.priority,
           coalesce(i.own_trigger, w.trigger_node) AS trigger_node, w.limited
    FROM input i CROSS JOIN LATERAL (SELECT * FROM workflows WHERE id = i.workflow_id OFFSET 0) AS w
    WHERE w.is_active AND w.deleted_at IS NULL
      AND (i.token_hash IS NULL
           OR w.trigger_component = 'webhook_trigger'
              AND (i.token_hash = w.webhook_token_hash
                   OR i.token_hash = w.previous_token_hash AND w.previous_token_until > now()))
), claimed AS (
    INSERT INTO dedupe AS d (workspace_id, workflow_id, key, run_id)
    SELECT workspace_id, workflow_id, key, run_id
    FROM (SELECT DISTINCT ON (workflow_id, key) * FROM wanted WHERE key IS NOT NULL ORDER BY workflow_id, key, place) AS firsts
    ON CONFLICT (workflow_id, key) DO UPDATE
    SET (run_id, created_at) = (SELECT d.run_id, d.created_at WHERE d.created_at > now() - interval '24 hours'
                                UNION ALL SELECT EXCLUDED.run_id, now() LIMIT 1)
    RETURNING workflow_id, key, run_id, created_at
), chosen AS (
    SELECT w.* FROM wanted w LEFT JOIN claimed c ON c.workflow_id = w.workflow_id AND c.key = w.key
    WHERE w.key IS NULL OR c.run_id = w.run_id
), accepted AS (
    INSERT INTO runs (id, workspace_id, workflow_id, version, priority, trigger_type, trigger_payload, request_id,
                      traceparent, open_steps, started_by, rerun_of, slots)
    SELECT run_id, workspace_id, workflow_id, version, priority, trigger_type, ($4::text[])[place], request_id,
           traceparent, 1, started_by, rerun_of, CASE WHEN limited THEN -1 ELSE 0 END
    FROM (SELECT * FROM chosen ORDER BY run_id) AS ordered
    ON CONFLICT (id) DO NOTHING
    RETURNING id, workspace_id, workflow_id, version, priority, created_at
), audited AS (
    INSERT INTO audit (id, workspace_id, actor, action, target, after_digest, request_id)
    SELECT a.id, a.workspace_id, w.started_by, CASE WHEN w.rerun_of IS NULL THEN 'run.create' ELSE 'run.rerun' END, w.target,
           sha256(convert_to(($4::text[])[w.place], 'UTF8')), w.request_id
    FROM accepted a JOIN chosen w ON w.run_id = a.id WHERE w.started_by IS NOT NULL
), opened AS (
    INSERT INTO open_steps (run_id, node_id, workspace_id, workflow_id, priority, status, claim_first, sent_at, sends)
    SELECT a.id, w.trigger_node, a.workspace_id, a.workflow_id, a.priority, 'ready', w.limited,
           CASE WHEN w.sent THEN now() END, w.sent::int
    FROM accepted a JOIN chosen w ON w.run_id = a.id
    RETURNING run_id, node_id, claim_first
)
SELECT a.id, a.workspace_id, a.workflow_id, a.version, a.priority, a.created_at, o.node_id, o.claim_first,
       NULL::uuid AS first_run
FROM accepted a JOIN opened o ON o.run_id = a.id
UNION ALL
SELECT w.run_id, w.workspace_id, w.workflow_id, w.version, w.priority, c.created_at, w.trigger_node, w.limited, c.run_id
FROM wanted w JOIN claimed c ON c.workflow_id = w.workflow_id AND c.key = w.key WHERE c.run_id <> w.run_id;

-- name: already_accepted
-- Which of these runs exist, in the shape of `accept`; asked when a commit's outcome was unknown.
SELECT r.id, r.workspace_id, r.workflow_id, r.version, r.priority, r.created_at,
       (SELECT w.trigger_node FROM workflows w WHERE w.id = r.workflow_id) AS node_id, r.slots <> 0 AS claim_first
FROM runs r WHERE r.id = ANY ($1::uuid[]);

-- name: count_sent
-- How many steps of each workflow have been sent and not been taken yet.
SELECT workflow_id, count(*) AS sent FROM open_steps
WHERE status = 'ready' AND sent_at IS NOT NULL GROUP BY workflow_id;
