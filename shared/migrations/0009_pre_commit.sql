-- Advances are committed by statements over the whole batch instead of three for each unit, and what is usual is left out
-- of their parameters. This release's earlier function of that name is nobody's by now.
DROP FUNCTION commit_advances(
    uuid[], text[], text[], uuid[], timestamptz[], text[], text[], text[], boolean[], integer[], integer[],
    boolean[], text[], text[], integer[], integer[], boolean[], uuid[], text[], integer[], boolean[], text[],
    text[], smallint[], integer[], text[], text[], text[], text[], text[], timestamptz[], integer[],
    integer[], text[], text[], text[], smallint[], uuid[], timestamptz[], text[], uuid[], text[], boolean[],
    integer[], text[], text[], integer[], integer[], integer[], integer[], uuid, boolean, boolean, boolean);

-- Commits a batch of advances. An advance ("unit") is all that one run writes together; it is written whole or not at
-- all. Its guard is the open step it holds: who cannot take that row, under the claim id it was given, has lost, and
-- nothing of it is written. Says which units were lost, which were late (their run, or item, is being ended: only the held
-- step's own result was written), which runs ended, and what became ready; of a unit that is neither lost nor late nothing.
--
-- u_  units, numbered from 1 and ordered by run, node and item: run, held node, held item, held claim (null: not claimed),
--     when it started, outcome (null, or the status the run is to end with), error message, the run's output, whether
--     steps in flight are aborted (`terminate`), how many steps it opens, how many results of the batch stand before its
--     run's first and up to its own last, and whether anything it opens counts as active; of a step inside an iterator the
--     iterator, its path, the item's place, how many steps it opens at its own path, and whether it fails its item
--     (`fail_item` follows in the same transaction); the run that waits for this one; and what had woken the held step
-- x_  results, in the order of their units: unit, node, attempt, status, handle, output, input, error, started, milliseconds
-- o_  steps that open: unit, node, item, status, attempt, claim, due, what it waits for, the run it waits for, wake, claim
--     first
-- a_  arrivals at joins: unit, node, arrived, fired, in-degree, need
-- Null for a column: of every one what is usual, which is null, 0 or false, item '-', attempt 1, status success. Moments
-- are in microseconds since 1970. (Encoding a value takes a worker up to 0.8 microseconds, a timestamptz 1.8.)
-- A run that is being ended (`outcome`) still has the results of its steps in flight recorded; their edges do not fire.
--
-- It is a function so that rows are locked first and read by later statements, in one round trip. As one statement
-- counters were lost (39 of 50 arrivals at one join of two workers; probably it saw rows as they were before it waited for
-- the lock). Rows are locked by their whole keys and in the order of the keys: two batches cannot deadlock, and no
-- statistics, however stale, make it a scan (OFFSET 0 keeps the planner from turning a look-up into a join; with an
-- empty-looking table it read the whole backlog for each batch). `low` and `high` leave only the partitions of the batch.
CREATE FUNCTION commit_advances(
    u_run uuid[], u_node text[], u_item text[], u_claim uuid[], u_started bigint[], u_outcome text[],
    u_error text[], u_output text[], u_abort boolean[], u_opens integer[], u_first integer[], u_last integer[],
    u_active boolean[], u_iterator text[], u_parent text[], u_place integer[], u_level_opens integer[], u_fails boolean[],
    u_caller uuid[], u_wake text[],
    x_unit integer[], x_node text[], x_attempt smallint[], x_status text[], x_handle text[], x_output text[],
    x_input text[], x_error text[], x_started bigint[], x_ms integer[],
    o_unit integer[], o_node text[], o_item text[], o_status text[], o_attempt smallint[], o_claim uuid[],
    o_due timestamptz[], o_waits text[], o_child uuid[], o_wake text[], o_claim_first boolean[],
    a_unit integer[], a_node text[], a_arrived integer[], a_fired integer[], a_degree integer[], a_need integer[],
    incarnation uuid
) RETURNS TABLE (kind text, unit integer, run_id uuid, node_id text, item text, flag boolean, status text, seconds float8)
LANGUAGE plpgsql
-- A batch that waits longer than this for a row is taken apart and sent again in pieces.
SET lock_timeout = '500ms'
SET plan_cache_mode = force_generic_plan
SET enable_seqscan = off
AS $$
#variable_conflict use_column
DECLARE
    units constant integer := cardinality(u_run);
    low constant uuid := u_run[1];
    high constant uuid := u_run[units];
    paths constant text[] := coalesce(u_item, array_fill('-'::text, ARRAY[units]));
    run uuid;
    -- By unit: whether it got its step, whether its run, and its item, go on, and the place of its run among those locked.
    won boolean[] := array_fill(false, ARRAY[units]);
    live boolean[] := array_fill(false, ARRAY[units]);
    at integer[] := '{}';
    -- By run: what its row says.
    ids uuid[];
    g integer := 0;
    lives boolean[];
    seqs integer[];
    priorities smallint[];
    workspaces uuid[];
    workflows uuid[];
    -- By unit: how many joins and items it opened beyond what it says itself.
    more integer[] := array_fill(0, ARRAY[units]);
    places integer[];
    tids tid[];
    -- By run: what all its units did to its row.
    g_run uuid[] := '{}';
    g_delta integer[] := '{}';
    g_numbers integer[] := '{}';
    g_began bigint[] := '{}';
    g_decided text[] := '{}';
    g_reason text[] := '{}';
    g_result text[] := '{}';
    g_gone integer[] := '{}';
    g_active boolean[] := '{}';
    -- A run for each step that was cancelled.
    cancelled uuid[] := '{}';
    delta integer;
    ended boolean;
    called boolean;
    woken uuid[] := '{}';
    holds smallint;
    made opened_step;
BEGIN
    IF u_caller IS NOT NULL THEN
        -- The end of a run wakes the step that waits for it: rows of callers are locked in one order with the others.
        FOR run IN SELECT DISTINCT id FROM unnest(u_run || u_caller) AS u (id) WHERE id IS NOT NULL ORDER BY id LOOP
            PERFORM 1 FROM runs WHERE id = run FOR NO KEY UPDATE;
        END LOOP;
        run := NULL;
    END IF;
    -- Not by LATERAL: PostgreSQL 18 finds no row again that it waited for, if it prunes partitions both before and during a
    -- statement.
    SELECT array_agg(r.id), array_agg(r.is_live), array_agg(r.seq), array_agg(r.priority), array_agg(r.workspace_id),
           array_agg(r.workflow_id)
    INTO ids, lives, seqs, priorities, workspaces, workflows
    FROM (SELECT id, outcome IS NULL AS is_live, seq, priority, workspace_id, workflow_id FROM runs
          WHERE id = ANY (u_run) AND id BETWEEN low AND high ORDER BY id FOR NO KEY UPDATE) AS r;
    IF u_outcome IS NOT NULL THEN
        -- What an end cancels or stops is locked before it is looked at: a claim being made now would be neither.
        PERFORM 1 FROM generate_series(1, units) AS u (i) CROSS JOIN LATERAL (
            SELECT 1 FROM open_steps WHERE run_id = u_run[u.i] ORDER BY run_id, node_id, item FOR UPDATE OFFSET 0) AS o
        WHERE u_outcome[u.i] IS NOT NULL;
    END IF;
    -- The guard. What is locked here is removed by a statement of its own, which sees rows as they are once they are locked.
    SELECT array_agg(u.i), array_agg(o.tid) INTO places, tids
    FROM generate_series(1, units) AS u (i) CROSS JOIN LATERAL (
        SELECT ctid AS tid FROM open_steps
        WHERE run_id = u_run[u.i] AND node_id = u_node[u.i] AND item = paths[u.i]
          -- Without a claim it must be ready for the same reason: a step that has begun to wait meanwhile, and was woken, is
          -- the same row and another turn. Further attempts are claimed.
          AND CASE WHEN u_claim[u.i] IS NULL THEN status = 'ready' AND wake IS NOT DISTINCT FROM u_wake[u.i]
                                                  AND NOT (claim_first AND attempt > 1)
                   ELSE claim_id = u_claim[u.i] END
        FOR UPDATE OFFSET 0) AS o;
    kind := 'lost';
    IF places IS NULL THEN
        RETURN QUERY SELECT 'lost', i, NULL::uuid, NULL, NULL, NULL::boolean, NULL, NULL::float8
                     FROM generate_series(1, units) AS i;
        RETURN;
    END IF;
    DELETE FROM open_steps WHERE ctid = ANY (tids);
    FOR i IN 1 .. cardinality(places) LOOP
        -- Of two units that hold the same step, the first has it.
        won[places[i]] := i = 1 OR tids[i] <> tids[i - 1];
    END LOOP;
    FOR i IN 1 .. units LOOP
        unit := i;
        IF ids[g + 1] = u_run[i] THEN
            g := g + 1;
        END IF;
        at[i] := CASE WHEN ids[g] = u_run[i] THEN g END;
        IF NOT won[i] THEN
            kind := 'lost';
            RETURN NEXT;
            CONTINUE;
        END IF;
        live[i] := lives[at[i]];
        IF u_iterator IS NOT NULL AND u_iterator[i] IS NOT NULL AND live[i] THEN
            -- What arrives of an item that has ended is recorded and starts nothing.
            SELECT NOT ended INTO flag FROM items
            WHERE run_id = u_run[i] AND node_id = u_iterator[i] AND item = u_parent[i] AND place = u_place[i];
            live[i] := coalesce(flag, false);
        END IF;
        IF NOT live[i] THEN
            kind := 'late';
            RETURN NEXT;
        END IF;
    END LOOP;
    unit := NULL;
    g := 0;

    -- The results of a unit lie at its own item path; those of a run are numbered in their order.
    INSERT INTO steps (run_id, workspace_id, seq, duration_ms, started_at, attempt, node_id, item, status, handle, output,
                       input, error)
    SELECT u_run[x.unit], workspaces[at[x.unit]], seqs[at[x.unit]] + x.place::integer - 1 - u_first[x.unit],
           coalesce(x.duration_ms, 0), to_timestamp(x.started / 1e6::float8), coalesce(x.attempt, 1::smallint), x.node_id,
           paths[x.unit],
           -- Nobody tries a step again whose run is being ended: this attempt is its result.
           CASE WHEN x.status = 'retried' AND NOT live[x.unit] THEN 'failed' ELSE coalesce(x.status, 'success') END,
           x.handle, x.output, x.input, x.error
    FROM unnest(x_unit, x_node, x_attempt, x_status, x_handle, x_output, x_input, x_error, x_started, x_ms) WITH ORDINALITY
        AS x (unit, node_id, attempt, status, handle, output, input, error, started, duration_ms, place)
    WHERE won[x.unit] AND (live[x.unit] OR x.node_id = u_node[x.unit]);

    IF cardinality(o_unit) > 0 THEN
        INSERT INTO open_steps (run_id, workspace_id, workflow_id, priority, node_id, item, status, attempt, claim_id,
                                incarnation_id, started_at, due_at, waits, child_run_id, wake, sent_at, sends, claim_first)
        SELECT u_run[x.unit], workspaces[at[x.unit]], workflows[at[x.unit]], priorities[at[x.unit]], x.node_id,
               coalesce(x.item, '-'), x.status, coalesce(x.attempt, 1::smallint), x.claim_id,
               CASE WHEN x.claim_id IS NOT NULL THEN incarnation END, CASE WHEN x.status <> 'ready' THEN now() END, x.due_at,
               x.waits, x.child_run_id, x.wake, CASE WHEN x.status = 'ready' THEN now() END, (x.status = 'ready')::int,
               coalesce(x.claim_first, false)
        FROM unnest(o_unit, o_node, o_item, o_status, o_attempt, o_claim, o_due, o_waits, o_child, o_wake, o_claim_first)
            AS x (unit, node_id, item, status, attempt, claim_id, due_at, waits, child_run_id, wake, claim_first)
        WHERE won[x.unit] AND live[x.unit];
    END IF;

    IF cardinality(a_unit) > 0 THEN
        FOR unit, run_id, node_id, item IN
            WITH arrivals AS MATERIALIZED (
                SELECT u_run[a.unit] AS run_id, a.node_id, paths[a.unit] AS item, min(a.unit) AS unit,
                       sum(a.arrived)::int AS arrived, sum(a.fired)::int AS fired, max(a.degree) AS degree, max(a.need) AS need
                FROM unnest(a_unit, a_node, a_arrived, a_fired, a_degree, a_need)
                    AS a (unit, node_id, arrived, fired, degree, need)
                WHERE won[a.unit] AND live[a.unit] GROUP BY 1, 2, 3
            ), counted AS (
                INSERT INTO joins AS j (run_id, workspace_id, node_id, item, arrived, fired)
                SELECT run_id, workspaces[at[unit]], node_id, item, arrived, fired FROM arrivals ORDER BY run_id, node_id, item
                ON CONFLICT (run_id, node_id, item) DO UPDATE SET arrived = j.arrived + excluded.arrived,
                                                                  fired = j.fired + excluded.fired
                RETURNING run_id, node_id, item, arrived, fired
            ), decided AS (
                -- The arithmetic of shared.graph.advance.resolve: true runs it, false passes a skip on, null is not yet.
                SELECT c.run_id, c.node_id, c.item, a.unit,
                       CASE WHEN a.need = 0 THEN CASE WHEN c.arrived = a.degree THEN c.fired > 0 END
                            WHEN c.fired >= a.need THEN CASE WHEN c.fired - a.fired < a.need THEN true END
                            WHEN c.arrived = a.degree THEN false
                       END AS fires
                FROM counted c JOIN arrivals a USING (run_id, node_id, item)
            ), opened AS (
                INSERT INTO open_steps (run_id, workspace_id, workflow_id, priority, node_id, item, status, fired,
                                        claim_first, sent_at, sends)
                SELECT run_id, workspaces[at[unit]], workflows[at[unit]], priorities[at[unit]], node_id, item, 'ready', fires, false,
                       now(), 1
                FROM decided WHERE fires IS NOT NULL
            )
            SELECT unit, run_id, node_id, item FROM decided WHERE fires IS NOT NULL
        LOOP
            kind := 'join';
            more[unit] := more[unit] + 1;
            unit := priorities[at[unit]];
            RETURN NEXT;
        END LOOP;
        unit := NULL;
    END IF;

    IF u_outcome IS NOT NULL THEN
        -- The unit that ends its run takes its ready and waiting steps with it.
        WITH gone AS (
            DELETE FROM open_steps WHERE ctid = ANY (ARRAY(
                SELECT o.ctid FROM generate_series(1, units) AS u (i) CROSS JOIN LATERAL (
                    SELECT ctid FROM open_steps WHERE run_id = u_run[u.i] AND status <> 'running' OFFSET 0) AS o
                WHERE won[u.i] AND live[u.i] AND u_outcome[u.i] IS NOT NULL))
            RETURNING run_id, node_id, item, attempt, wake, coalesce(started_at, now()) AS started_at
        ), recorded AS (
            INSERT INTO steps (run_id, workspace_id, seq, duration_ms, started_at, attempt, node_id, item, status)
            SELECT g.run_id, workspaces[at[u.i]],
                   seqs[at[u.i]] + u_last[u.i] - u_first[u.i] + (row_number() OVER (PARTITION BY g.run_id ORDER BY g.node_id, g.item))::int - 1,
                   0, g.started_at, g.attempt, g.node_id, g.item, 'cancelled'
            FROM gone g JOIN generate_series(1, units) AS u (i) ON u_run[u.i] = g.run_id AND u_outcome[u.i] IS NOT NULL
            WHERE g.wake IS DISTINCT FROM 'item'  -- the start of an item is no step of its own
        )
        SELECT coalesce(array_agg(run_id), '{}') INTO cancelled FROM gone;
        -- What `terminate` ends is aborted at its worker's next heartbeat; a failure lets steps in flight settle.
        UPDATE open_steps SET stop = true WHERE ctid = ANY (ARRAY(
            SELECT o.ctid FROM generate_series(1, units) AS u (i) CROSS JOIN LATERAL (
                SELECT ctid FROM open_steps WHERE run_id = u_run[u.i] AND status = 'running' OFFSET 0) AS o
            WHERE won[u.i] AND live[u.i] AND u_abort[u.i]));
    END IF;

    IF u_iterator IS NOT NULL THEN
        kind := 'join';
        FOR i IN 1 .. units LOOP
            CONTINUE WHEN u_iterator[i] IS NULL OR NOT won[i] OR live[i] AND (u_fails[i] OR u_outcome[i] IS NOT NULL);
            delta := more[i] - 1 + CASE WHEN live[i] THEN coalesce(u_level_opens[i], 0) ELSE 0 END;
            CONTINUE WHEN delta = 0 OR (SELECT outcome IS NOT NULL FROM runs WHERE id = u_run[i]);
            FOR made IN SELECT * FROM settle_item(u_run[i], u_iterator[i], u_parent[i], u_place[i], delta) LOOP
                -- An iterator that goes on was open before; an item that starts was not.
                IF made.item <> u_parent[i] THEN
                    more[i] := more[i] + 1;
                END IF;
                woken := woken || made.run_id;
                unit := made.priority;
                run_id := made.run_id;
                node_id := made.node_id;
                item := made.item;
                RETURN NEXT;
            END LOOP;
        END LOOP;
        item := NULL;
    END IF;

    -- What all units of a run did to its row.
    FOR i IN 1 .. units LOOP
        CONTINUE WHEN NOT won[i];
        IF u_run[i] IS DISTINCT FROM run THEN
            run := u_run[i];
            g := g + 1;
            g_run[g] := run;
            g_gone[g] := CASE WHEN cardinality(cancelled) > 0 THEN cardinality(array_positions(cancelled, run)) ELSE 0 END;
            g_delta[g] := -g_gone[g];
            g_active[g] := false;
            g_began[g] := u_started[i];
        END IF;
        g_delta[g] := g_delta[g] - 1 + more[i];
        g_active[g] := g_active[g] OR more[i] > 0;
        g_numbers[g] := g_gone[g] + u_last[i] - u_first[i];  -- it only grows from unit to unit of a run
        g_began[g] := least(g_began[g], u_started[i]);
        IF live[i] THEN
            g_delta[g] := g_delta[g] + coalesce(u_opens[i], 0);
            g_active[g] := g_active[g] OR coalesce(u_active[i], false);
            g_decided[g] := coalesce(g_decided[g], u_outcome[i]);
            g_reason[g] := coalesce(g_reason[g], u_error[i]);
            g_result[g] := coalesce(g_result[g], u_output[i]);
        END IF;
    END LOOP;
    FOR run_id, status, node_id, ended, seconds, holds, called, g IN
        UPDATE runs
        SET (open_steps, seq, started_at, idle_seconds, idle_since, outcome, error_message, output, status, completed_at) = (
            SELECT s.remain, seq + g_numbers[s.g], s.began,
                   CASE WHEN idle_since IS NULL THEN idle_seconds
                        ELSE idle_seconds + greatest(0, extract(epoch FROM now() - idle_since)) END,
                   NULL::timestamptz,
                   coalesce(outcome, g_decided[s.g], CASE WHEN s.remain = 0 THEN s.verdict END),
                   s.reason, coalesce(output, g_result[s.g]),
                   CASE WHEN s.remain <> 0 THEN 'running' ELSE coalesce(outcome, g_decided[s.g], s.verdict) END,
                   CASE WHEN s.remain = 0 THEN greatest(clock_timestamp(), s.began) END
            FROM (
                SELECT k.g, open_steps + g_delta[k.g] AS remain, coalesce(error_message, g_reason[k.g]) AS reason,
                       coalesce(started_at, to_timestamp(g_began[k.g] / 1e6::float8)) AS began,
                       -- With `finish_branches` a failure leaves its message, and decides once nothing is open any more.
                       CASE WHEN coalesce(error_message, g_reason[k.g]) IS NOT NULL THEN 'failed' ELSE 'completed' END
                           AS verdict
                FROM (SELECT array_position(g_run, runs.id) AS g OFFSET 0) AS k OFFSET 0) AS s)
        WHERE id = ANY (g_run) AND id BETWEEN low AND high
        RETURNING id, runs.status, trigger_type, completed_at IS NOT NULL,
                  extract(epoch FROM completed_at - created_at)::float8, slots, parent_waits, array_position(g_run, id)
    LOOP
        IF ended THEN
            kind := 'ended';
            unit := NULL;
            run := run_id;
            flag := holds > 0;
            RETURN NEXT;
            IF flag OR called OR status = 'failed' THEN
                FOR made IN SELECT * FROM run_ended(run) LOOP
                    kind := CASE WHEN made.run_id = ANY (u_caller) THEN 'join' ELSE 'run' END;
                    unit := made.priority;
                    run_id := made.run_id;
                    node_id := made.node_id;
                    item := made.item;
                    RETURN NEXT;
                END LOOP;
                item := NULL;
            END IF;
        ELSIF NOT g_active[g] THEN
            PERFORM note_activity(run_id, run_id = ANY (woken));
        END IF;
    END LOOP;
END $$;

-- A queue's table looks empty to the planner one moment and is not the next: plans made then read it whole, dead rows and
-- all.
ALTER FUNCTION note_activity(uuid, boolean) SET enable_seqscan = off;
ALTER FUNCTION settle_item(uuid, text, text, integer, integer) SET enable_seqscan = off;
ALTER FUNCTION run_ended(uuid) SET enable_seqscan = off;
ALTER FUNCTION start_child(caller uuid, text, text, uuid, uuid, text, boolean ) SET enable_seqscan = off;
ALTER FUNCTION wake_steps(uuid[], text[], text[], text, boolean) SET enable_seqscan = off;
ALTER FUNCTION enter_limit(uuid, uuid, text) SET enable_seqscan = off;
ALTER FUNCTION admit_queued(uuid) SET enable_seqscan = off;
ALTER FUNCTION fail_item(uuid, text, text, integer, text, text[]) SET enable_seqscan = off;
ALTER FUNCTION brought_by(open_steps) SET enable_seqscan = off;
ALTER FUNCTION step_outputs(uuid[], text[], text[]) SET enable_seqscan = off;
ALTER FUNCTION item_values(uuid[], text[], text[], integer[]) SET enable_seqscan = off;
ALTER FUNCTION begin_iteration(uuid, text, text, integer, boolean, text[]) SET enable_seqscan = off;

CREATE OR REPLACE FUNCTION read_steps(r_run uuid[], r_node text[], r_item text[]) RETURNS SETOF taken_step
LANGUAGE plpgsql
SET plan_cache_mode = force_generic_plan
SET enable_seqscan = off
AS $$
DECLARE
    -- Without them a statement opens the partitions of all days.
    low constant uuid := (SELECT id FROM unnest(r_run) AS r (id) ORDER BY id LIMIT 1);
    high constant uuid := (SELECT id FROM unnest(r_run) AS r (id) ORDER BY id DESC LIMIT 1);
BEGIN
    RETURN QUERY
    SELECT o.run_id, o.node_id, o.item, o.claim_id, o.attempt, o.fired, o.wake, o.crashes, o.sent_at, o.started_at,
           o.workspace_id, o.workflow_id, r.version, r.trigger_type::text,
           CASE WHEN o.item = '-' THEN r.trigger_payload END, r.created_at, o.priority, r.outcome IS NOT NULL,
           CASE WHEN o.wake IS NOT NULL THEN brought_by(o.step) END,
           CASE WHEN r.parent_waits THEN r.parent_run_id END, r.slots, r.depth
    FROM generate_series(1, cardinality(r_run)) AS u (i)
    CROSS JOIN LATERAL (
        SELECT s.*, s AS step FROM open_steps s
        WHERE s.run_id = r_run[u.i] AND s.node_id = r_node[u.i] AND s.item = r_item[u.i] AND s.status = 'ready' OFFSET 0) AS o
    CROSS JOIN LATERAL (SELECT * FROM runs WHERE id = o.run_id AND id BETWEEN low AND high OFFSET 0) AS r;
END $$;

CREATE OR REPLACE FUNCTION take_steps(r_run uuid[], r_node text[], r_item text[], r_claim uuid[], incarnation uuid)
RETURNS SETOF taken_step
LANGUAGE plpgsql
SET plan_cache_mode = force_generic_plan
SET enable_seqscan = off
AS $$
DECLARE
    -- Without them a statement opens the partitions of all days.
    low constant uuid := (SELECT id FROM unnest(r_run) AS r (id) ORDER BY id LIMIT 1);
    high constant uuid := (SELECT id FROM unnest(r_run) AS r (id) ORDER BY id DESC LIMIT 1);
BEGIN
    RETURN QUERY
    WITH picked AS MATERIALIZED (
        SELECT o.ctid AS tid, r_claim[u.i] AS claim_id
        FROM generate_series(1, cardinality(r_run)) AS u (i)
        CROSS JOIN LATERAL (
            SELECT ctid FROM open_steps
            WHERE run_id = r_run[u.i] AND node_id = r_node[u.i] AND item = r_item[u.i] AND status = 'ready'
            FOR UPDATE SKIP LOCKED OFFSET 0) AS o
    ), claimed AS (
        UPDATE open_steps o
        SET status = 'running', claim_id = (SELECT p.claim_id FROM picked p WHERE p.tid = o.ctid LIMIT 1),
            incarnation_id = incarnation, started_at = CASE WHEN o.wake IS NULL THEN now() ELSE o.started_at END
        WHERE o.ctid = ANY (ARRAY(SELECT tid FROM picked)) AND o.status = 'ready'
        RETURNING o.*, o AS step
    )
    SELECT o.run_id, o.node_id, o.item, o.claim_id, o.attempt, o.fired, o.wake, o.crashes, o.sent_at, o.started_at,
           o.workspace_id, o.workflow_id, r.version, r.trigger_type::text,
           CASE WHEN o.item = '-' THEN r.trigger_payload END, r.created_at, o.priority, r.outcome IS NOT NULL,
           CASE WHEN o.wake IS NOT NULL THEN brought_by(o.step) END,
           CASE WHEN r.parent_waits THEN r.parent_run_id END, r.slots, r.depth
    FROM claimed o CROSS JOIN LATERAL (SELECT * FROM runs WHERE id = o.run_id AND id BETWEEN low AND high OFFSET 0) AS r;
END $$;
