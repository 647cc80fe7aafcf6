-- name: commit
-- Commits a batch of advances. An advance ("unit") is all that one run writes together; it is written whole or not at
-- all. Its guard is the open step it holds: who cannot delete that row, under the claim id it was given, has lost, and
-- every other write joins the rows the guard returned.
--
-- $1-$9    units: number, run, held node, held item, held claim (null: not claimed), when it started, outcome (null, or
--          the status the run is to end with), error message, the run's output
-- $10-$22  results: unit, whether it is the held step's own, node, item, attempt, offset of seq, status, handle, output,
--          input, error, started, milliseconds
-- $23-$31  steps that open: unit, node, item, status, attempt, claim, due, sent, claim first
-- $32-$38  arrivals at joins: unit, node, item, arrived, fired, in-degree, need
-- $39      this worker's incarnation; $40-$41 the least and greatest run id, which prune the partitions
-- $42      units again: whether steps in flight are aborted (`terminate`)
--
-- A run that is being ended (`outcome`) still has the results of its steps in flight recorded; their edges do not fire.
-- Locks: run rows by id, then open steps by key, then joins by key.
WITH units AS (
    SELECT * FROM unnest($1::int[], $2::uuid[], $3::text[], $4::text[], $5::uuid[], $6::timestamptz[], $7::text[],
                         $8::text[], $9::text[], $42::boolean[])
        AS u (unit, run_id, node_id, item, claim_id, started_at, outcome, error_message, output, abort)
), locked_runs AS MATERIALIZED (
    SELECT id, workspace_id, workflow_id, priority, seq, outcome IS NULL AS live
    FROM runs WHERE id = ANY ($2::uuid[]) AND id BETWEEN $40::uuid AND $41::uuid
    ORDER BY id FOR NO KEY UPDATE
), locked_steps AS MATERIALIZED (
    SELECT u.unit, o.run_id, o.node_id, o.item, r.live
    FROM units u
    JOIN locked_runs r ON r.id = u.run_id
    JOIN open_steps o ON o.run_id = u.run_id AND o.node_id = u.node_id AND o.item = u.item
    WHERE CASE WHEN u.claim_id IS NULL THEN o.status = 'ready' ELSE o.claim_id = u.claim_id END
    ORDER BY o.run_id, o.node_id, o.item FOR UPDATE OF o
), held AS (
    DELETE FROM open_steps o USING locked_steps l
    WHERE o.run_id = l.run_id AND o.node_id = l.node_id AND o.item = l.item
    RETURNING l.unit, l.run_id, l.live
), cancelled AS (
    -- The unit that ends its run takes its ready and waiting steps with it.
    DELETE FROM open_steps o USING held h JOIN units u USING (unit)
    WHERE o.run_id = h.run_id AND h.live AND u.outcome IS NOT NULL AND o.status <> 'running'
      AND (o.node_id, o.item) <> (u.node_id, u.item)
    RETURNING o.run_id, o.node_id, o.item, o.attempt, coalesce(o.started_at, now()) AS started_at
), stopped AS (
    -- What `terminate` ends is aborted at its worker's next heartbeat; a failure lets steps in flight settle.
    UPDATE open_steps o SET stop = true FROM held h JOIN units u USING (unit)
    WHERE o.run_id = h.run_id AND h.live AND u.abort AND o.status = 'running'
      AND (o.node_id, o.item) <> (u.node_id, u.item)
), results AS (
    SELECT * FROM unnest($10::int[], $11::boolean[], $12::text[], $13::text[], $14::smallint[], $15::int[], $16::text[],
                         $17::text[], $18::text[], $19::text[], $20::text[], $21::timestamptz[], $22::int[])
        AS x (unit, own, node_id, item, attempt, seq, status, handle, output, input, error, started_at, duration_ms)
), recorded AS (
    INSERT INTO steps (run_id, workspace_id, seq, duration_ms, started_at, attempt, node_id, item, status, handle, output,
                       input, error)
    SELECT h.run_id, r.workspace_id, r.seq + x.seq, x.duration_ms, x.started_at, x.attempt, x.node_id, x.item, x.status,
           x.handle, x.output, x.input, x.error
    FROM results x JOIN held h USING (unit) JOIN locked_runs r ON r.id = h.run_id
    WHERE h.live OR x.own
    UNION ALL
    SELECT c.run_id, r.workspace_id, r.seq + n.seqs + (row_number() OVER (PARTITION BY c.run_id))::int - 1, 0, c.started_at,
           c.attempt, c.node_id, c.item, 'cancelled', NULL, NULL, NULL, NULL
    FROM cancelled c JOIN locked_runs r ON r.id = c.run_id
    JOIN (SELECT u.run_id, max(x.seq) + 1 AS seqs FROM results x JOIN units u USING (unit) GROUP BY u.run_id) n
      ON n.run_id = c.run_id
), opened AS (
    INSERT INTO open_steps (run_id, workspace_id, workflow_id, priority, node_id, item, status, attempt, claim_id,
                            incarnation_id, started_at, due_at, sent_at, sends, claim_first)
    SELECT h.run_id, r.workspace_id, r.workflow_id, r.priority, x.node_id, x.item, x.status, x.attempt, x.claim_id,
           CASE WHEN x.claim_id IS NOT NULL THEN $39::uuid END, CASE WHEN x.status <> 'ready' THEN now() END, x.due_at,
           CASE WHEN x.sent THEN now() END, x.sent::int, x.claim_first
    FROM unnest($23::int[], $24::text[], $25::text[], $26::text[], $27::smallint[], $28::uuid[], $29::timestamptz[],
                $30::boolean[], $31::boolean[])
        AS x (unit, node_id, item, status, attempt, claim_id, due_at, sent, claim_first)
    JOIN held h USING (unit) JOIN locked_runs r ON r.id = h.run_id
    WHERE h.live
    RETURNING run_id
), arrivals AS (
    SELECT h.run_id, a.node_id, a.item, sum(a.arrived)::int AS arrived, sum(a.fired)::int AS fired,
           max(a.degree) AS degree, max(a.need) AS need
    FROM unnest($32::int[], $33::text[], $34::text[], $35::int[], $36::int[], $37::int[], $38::int[])
        AS a (unit, node_id, item, arrived, fired, degree, need)
    JOIN held h USING (unit) WHERE h.live
    GROUP BY h.run_id, a.node_id, a.item
), counted AS (
    INSERT INTO joins AS j (run_id, workspace_id, node_id, item, arrived, fired)
    SELECT a.run_id, r.workspace_id, a.node_id, a.item, a.arrived, a.fired
    FROM arrivals a JOIN locked_runs r ON r.id = a.run_id
    ORDER BY a.run_id, a.node_id, a.item
    ON CONFLICT (run_id, node_id, item) DO UPDATE SET arrived = j.arrived + excluded.arrived,
                                                      fired = j.fired + excluded.fired
    RETURNING run_id, node_id, item, arrived, fired
), joined AS (
    -- The arithmetic of shared.graph.advance.resolve: true runs it, false passes a skip on, null is not yet.
    SELECT c.run_id, c.node_id, c.item,
           CASE WHEN a.need = 0 THEN CASE WHEN c.arrived = a.degree THEN c.fired > 0 END
                WHEN c.fired >= a.need THEN CASE WHEN c.fired - a.fired < a.need THEN true END
                WHEN c.arrived = a.degree THEN false
           END AS fires
    FROM counted c JOIN arrivals a USING (run_id, node_id, item)
), opened_joins AS (
    INSERT INTO open_steps (run_id, workspace_id, workflow_id, priority, node_id, item, status, fired, claim_first, sent_at,
                            sends)
    SELECT j.run_id, r.workspace_id, r.workflow_id, r.priority, j.node_id, j.item, 'ready', j.fires, false, now(), 1
    FROM joined j JOIN locked_runs r ON r.id = j.run_id WHERE j.fires IS NOT NULL
    RETURNING run_id, node_id, item
), moved AS (
    SELECT run_id, sum(opened)::int AS opened
    FROM (SELECT run_id, -1 AS opened FROM held
          UNION ALL SELECT run_id, 1 FROM opened
          UNION ALL SELECT run_id, 1 FROM opened_joins
          UNION ALL SELECT run_id, -1 FROM cancelled) AS m
    GROUP BY run_id
), ends AS (
    SELECT h.run_id, coalesce(max(x.seq) + 1, 0) AS seqs, min(u.started_at) AS started_at, min(u.outcome) AS outcome,
           min(u.error_message) FILTER (WHERE h.live) AS error_message, min(u.output) FILTER (WHERE h.live) AS output
    FROM held h JOIN units u USING (unit) LEFT JOIN results x USING (unit)
    GROUP BY h.run_id
), ended AS (
    UPDATE runs r
    SET open_steps = r.open_steps + m.opened,
        seq = r.seq + e.seqs + (SELECT count(*) FROM cancelled c WHERE c.run_id = r.id)::int,
        started_at = coalesce(r.started_at, e.started_at),
        outcome = coalesce(r.outcome, e.outcome),
        error_message = coalesce(r.error_message, e.error_message),
        output = coalesce(r.output, e.output),
        status = CASE WHEN r.open_steps + m.opened = 0 THEN coalesce(r.outcome, e.outcome, 'completed') ELSE 'running' END,
        completed_at = CASE WHEN r.open_steps + m.opened = 0
                            THEN greatest(clock_timestamp(), coalesce(r.started_at, e.started_at)) END
    FROM moved m JOIN ends e USING (run_id)
    WHERE r.id = m.run_id AND r.id BETWEEN $40::uuid AND $41::uuid
    RETURNING r.id, r.status, r.trigger_type, extract(epoch FROM r.completed_at - r.created_at)::float8 AS seconds
)
SELECT 'held' AS kind, unit, run_id, NULL AS node_id, NULL AS item, live AS flag, NULL AS status, NULL::float8 AS seconds
FROM held
UNION ALL
SELECT 'join', NULL, run_id, node_id, item, NULL, NULL, NULL FROM opened_joins
UNION ALL
SELECT 'ended', NULL, id, trigger_type, NULL, NULL, status, seconds FROM ended WHERE status IN ('completed', 'failed', 'cancelled');

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
