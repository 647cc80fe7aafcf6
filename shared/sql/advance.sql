-- name: commit
-- Commits a batch of advances; `commit_advances` in shared/schema.sql says what the parameters are.
SELECT kind, unit, run_id, node_id, item, flag, status, seconds FROM commit_advances(
    $1, $2, $3, $4, $5, $6, $7, $8, $9,
    $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21, $22,
    $23, $24, $25, $26, $27, $28, $29, $30, $31,
    $32, $33, $34, $35, $36, $37, $38,
    $39, $40, $41, $42);

-- name: still_mine
-- Which of these claim ids are in force; asked when a commit's outcome was unknown.
SELECT claim_id FROM open_steps WHERE claim_id = ANY ($1::uuid[]) AND incarnation_id = $2::uuid;

-- name: drop_joins
-- Removes the counts of joins of runs that have ended.
DELETE FROM joins j USING (SELECT id FROM unnest($1::uuid[]) AS u (id)) AS d WHERE j.run_id = d.id;

-- name: claim
-- Takes ready steps for this incarnation, each under a fresh claim id, and reads what is needed to run them. What
-- another transaction holds is passed over: it is being taken by somebody else.
WITH refs AS (
    SELECT * FROM unnest($1::uuid[], $2::text[], $3::text[], $4::uuid[]) AS x (run_id, node_id, item, claim_id)
), picked AS MATERIALIZED (
    SELECT o.run_id, o.node_id, o.item, x.claim_id
    FROM refs x JOIN open_steps o ON o.run_id = x.run_id AND o.node_id = x.node_id AND o.item = x.item
    WHERE o.status = 'ready'
    ORDER BY o.run_id, o.node_id, o.item FOR UPDATE OF o SKIP LOCKED
), claimed AS (
    UPDATE open_steps o
    SET status = 'running', claim_id = p.claim_id, incarnation_id = $5::uuid,
        started_at = CASE WHEN o.wake IS NULL THEN now() ELSE o.started_at END
    FROM picked p WHERE o.run_id = p.run_id AND o.node_id = p.node_id AND o.item = p.item AND o.status = 'ready'
    RETURNING o.run_id, o.node_id, o.item, o.claim_id, o.attempt, o.fired, o.wake, o.crashes, o.sent_at, o.started_at
)
SELECT c.*, r.workspace_id, r.workflow_id, r.version, r.trigger_type, r.trigger_payload, r.created_at, r.priority
FROM claimed c JOIN runs r ON r.id = c.run_id AND r.id BETWEEN $6::uuid AND $7::uuid;

-- name: load
-- Reads ready steps that are run without a claim; the commit of what they lead to is the claim.
SELECT o.run_id, o.node_id, o.item, o.claim_id, o.attempt, o.fired, o.wake, o.crashes, o.sent_at, o.started_at,
       r.workspace_id, r.workflow_id, r.version, r.trigger_type, r.trigger_payload, r.created_at, r.priority
FROM unnest($1::uuid[], $2::text[], $3::text[]) AS x (run_id, node_id, item)
JOIN open_steps o ON o.run_id = x.run_id AND o.node_id = x.node_id AND o.item = x.item
JOIN runs r ON r.id = o.run_id AND r.id BETWEEN $4::uuid AND $5::uuid
WHERE o.status = 'ready';

-- name: outputs
-- The outputs of settled steps, for the context of a step that goes on from stored results.
SELECT s.run_id, s.node_id, s.status, s.output
FROM unnest($1::uuid[], $2::text[]) AS x (run_id, node_id)
JOIN steps s ON s.run_id = x.run_id AND s.node_id = x.node_id AND s.run_id BETWEEN $3::uuid AND $4::uuid
WHERE s.item = '-' AND s.status IN ('success', 'failed') AND s.output IS NOT NULL;

-- name: release
-- Gives claimed steps back, unsent, so that they are sent again: at shutdown, or when a claim is not known here.
UPDATE open_steps o SET status = 'ready', claim_id = NULL, incarnation_id = NULL, sent_at = NULL, claim_first = true
FROM unnest($1::uuid[]) AS x (claim_id) WHERE o.claim_id = x.claim_id AND o.incarnation_id = $2::uuid;

-- name: put_back
-- Gives claimed steps back as if their message had just been sent, so that they are sent again with back-off: this
-- worker cannot run them, a newer one may.
UPDATE open_steps o SET status = 'ready', claim_id = NULL, incarnation_id = NULL, sent_at = now(), claim_first = true
FROM unnest($1::uuid[]) AS x (claim_id) WHERE o.claim_id = x.claim_id AND o.incarnation_id = $2::uuid;
