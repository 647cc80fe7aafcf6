-- name: commit
-- Commits a batch of advances; `commit_advances` in shared/schema.sql says what the parameters are.
SELECT kind, unit, run_id, node_id, item, flag, status, seconds FROM commit_advances(
    $1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21, $22, $23,
    $24, $25, $26, $27, $28, $29, $30, $31, $32, $33, $34, $35, $36, $37, $38, $39, $40, $41, $42, $43, $44,
    $45, $46, $47, $48);

-- name: begin_iteration
-- Begins an iterator (run, node, item, how many of its items are open steps already, whether a failed
-- item stops the others, the items); `begin_iteration` in
-- shared/schema.sql.
SELECT begin_iteration($1, $2, $3, $4, $5, $6);

-- name: start_children
-- Starts runs that steps call (caller, node, item, the child's id, the workflow, its payload, whether the step waits); `start_child` in
-- shared/schema.sql.
SELECT made.run_id, made.node_id, made.item, made.priority, made.run_id = x.child AS is_new
FROM unnest($1::uuid[], $2::text[], $3::text[], $4::uuid[], $5::uuid[], $6::text[], $7::boolean[])
    AS x (caller, node_id, item, child, callee, payload, waits)
CROSS JOIN LATERAL start_child(x.caller, x.node_id, x.item, x.child, x.callee, x.payload, x.waits) AS made;

-- name: fail_item
-- Fails an item (run, iterator, its path, place, error, the iterator's body);
-- `fail_item` in shared/schema.sql.
SELECT run_id, node_id, item, priority FROM fail_item($1, $2, $3, $4, $5, $6);

-- name: still_mine
-- Which of these claim ids are in force; asked when a commit's outcome was unknown.
SELECT claim_id FROM open_steps WHERE claim_id = ANY ($1::uuid[]) AND incarnation_id = $2::uuid AND status = 'running';

-- name: claim
-- Takes ready steps under fresh claim ids, and reads them; `take_steps` in shared/schema.sql.
SELECT * FROM take_steps($1, $2, $3, $4, $5);

-- name: load
-- Reads ready steps without taking them; `read_steps` in shared/schema.sql.
SELECT * FROM read_steps($1, $2, $3);

-- name: payload
-- The trigger payload of a run.
SELECT trigger_payload FROM runs WHERE id = $1;

-- name: outputs
-- The outputs of settled steps by run, node and item; `step_outputs` in shared/schema.sql.
SELECT run_id, node_id, item, output FROM step_outputs($1, $2, $3);

-- name: item_values
-- Values of items, and how many there are, by run, iterator, its path and place; `item_values` in shared/schema.sql.
SELECT run_id, node_id, item, place, value, total FROM item_values($1, $2, $3, $4);

-- name: release
-- Gives claimed steps back, unsent, so that they are sent again: at shutdown, or when a claim is not known here.
UPDATE open_steps o SET status = 'ready', claim_id = NULL, incarnation_id = NULL, sent_at = NULL, claim_first = true
FROM unnest($1::uuid[]) AS x (claim_id) WHERE o.claim_id = x.claim_id AND o.incarnation_id = $2::uuid
  AND o.status = 'running';

-- name: put_back
-- Gives claimed steps back as if their message had just been sent, so that they are sent again with back-off: this
-- worker cannot run them, a newer one may.
UPDATE open_steps o SET status = 'ready', claim_id = NULL, incarnation_id = NULL, sent_at = now(), claim_first = true
FROM unnest($1::uuid[]) AS x (claim_id) WHERE o.claim_id = x.claim_id AND o.incarnation_id = $2::uuid
  AND o.status = 'running';

-- name: surrender
-- Gives claimed steps back whose effects began here and whose results are lost: that counts like their worker's death.
UPDATE open_steps o
SET status = 'ready', claim_id = NULL, incarnation_id = NULL, sent_at = NULL, claim_first = true,
    crashes = least(crashes + 1, 32000)
FROM unnest($1::uuid[]) AS x (claim_id) WHERE o.claim_id = x.claim_id AND o.incarnation_id = $2::uuid
  AND o.status = 'running';

-- name: give_up
-- Gives claimed steps back that are never to be run again, since Postgres took no result of them: whoever takes them
-- settles them as failed. They are sent again with back-off. 32000 is `shared.store.taken.GIVEN_UP`.
UPDATE open_steps o
SET status = 'ready', claim_id = NULL, incarnation_id = NULL, sent_at = now(), claim_first = true, crashes = 32000
FROM unnest($1::uuid[]) AS x (claim_id) WHERE o.claim_id = x.claim_id AND o.incarnation_id = $2::uuid
  AND o.status = 'running';
