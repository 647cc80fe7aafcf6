-- name: commit
-- Commits a batch of advances; `commit_advances` in shared/schema.sql says what the parameters are.
SELECT kind, unit, run_id, node_id, item, flag, status, seconds FROM commit_advances(
    $1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11,
    $12, $13, $14, $15, $16, $17, $18, $19, $20, $21, $22, $23, $24,
    $25, $26, $27, $28, $29, $30, $31, $32, $33,
    $34, $35, $36, $37, $38, $39, $40,
    $41, $42);

-- name: still_mine
-- Which of these claim ids are in force; asked when a commit's outcome was unknown.
SELECT claim_id FROM open_steps WHERE claim_id = ANY ($1::uuid[]) AND incarnation_id = $2::uuid;

-- name: claim
-- Takes ready steps under fresh claim ids, and reads them; `claim_steps` in shared/schema.sql.
SELECT * FROM claim_steps($1, $2, $3, $4, $5);

-- name: load
-- Reads ready steps without taking them; `load_steps` in shared/schema.sql.
SELECT * FROM load_steps($1, $2, $3);

-- name: outputs
-- The outputs of settled steps by run and node; `step_outputs` in shared/schema.sql.
SELECT run_id, node_id, output FROM step_outputs($1, $2);

-- name: release
-- Gives claimed steps back, unsent, so that they are sent again: at shutdown, or when a claim is not known here.
UPDATE open_steps o SET status = 'ready', claim_id = NULL, incarnation_id = NULL, sent_at = NULL, claim_first = true
FROM unnest($1::uuid[]) AS x (claim_id) WHERE o.claim_id = x.claim_id AND o.incarnation_id = $2::uuid;

-- name: put_back
-- Gives claimed steps back as if their message had just been sent, so that they are sent again with back-off: this
-- worker cannot run them, a newer one may.
UPDATE open_steps o SET status = 'ready', claim_id = NULL, incarnation_id = NULL, sent_at = now(), claim_first = true
FROM unnest($1::uuid[]) AS x (claim_id) WHERE o.claim_id = x.claim_id AND o.incarnation_id = $2::uuid;
