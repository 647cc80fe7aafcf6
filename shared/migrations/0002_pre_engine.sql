-- Iterators, child runs, waits for people, run time-outs and concurrency limits. Old code goes on working on this schema:
-- its functions are left as they are, and every new column has a default.

ALTER DOMAIN trigger_type DROP CONSTRAINT trigger_type_check;
ALTER DOMAIN trigger_type ADD CONSTRAINT trigger_type_check
    CHECK (VALUE IN ('manual', 'scheduled', 'webhook', 'sync', 'workflow', 'event', 'error'));
CREATE DOMAIN wait_reason AS text
    CHECK (VALUE IN ('timer', 'retry', 'callback', 'person', 'child_run', 'items', 'concurrency'));

ALTER TABLE workflows
    ADD COLUMN max_concurrent_runs integer CHECK (max_concurrent_runs >= 1),
    ADD COLUMN limited boolean NOT NULL DEFAULT false,
    ADD COLUMN error_workflow_id uuid,
    ADD COLUMN run_timeout integer NOT NULL DEFAULT 3600 CHECK (run_timeout >= 1);

ALTER TABLE workflow_versions
    ADD COLUMN run_timeout integer NOT NULL DEFAULT 3600 CHECK (run_timeout >= 1);

CREATE TABLE workflow_calls (
    workspace_id  uuid NOT NULL,
    workflow_id   uuid NOT NULL REFERENCES workflows ON DELETE CASCADE,
    callee_id     uuid NOT NULL,
    PRIMARY KEY (workflow_id, callee_id)
);
CREATE INDEX workflow_calls_by_callee ON workflow_calls (callee_id);

ALTER TABLE runs
    ADD COLUMN parent_run_id uuid,
    ADD COLUMN parent_node_id text,
    ADD COLUMN parent_item text,
    ADD COLUMN parent_waits boolean NOT NULL DEFAULT false,
    ADD COLUMN depth smallint NOT NULL DEFAULT 0,
    ADD COLUMN slots smallint NOT NULL DEFAULT 0,
    ADD COLUMN rerun_of uuid,
    ADD COLUMN started_by text,
    ADD COLUMN idle_since timestamptz,
    ADD COLUMN idle_seconds float8 NOT NULL DEFAULT 0,
    ADD COLUMN concurrency_key text;

ALTER TABLE open_steps
    ADD COLUMN waits wait_reason,
    ADD COLUMN child_run_id uuid,
    DROP CONSTRAINT open_steps_check2,
    ADD CONSTRAINT open_steps_check2 CHECK (status <> 'waiting' OR due_at IS NOT NULL OR waits IS NOT NULL);
CREATE INDEX open_steps_queued ON open_steps (workflow_id, run_id) WHERE status = 'waiting' AND waits = 'concurrency';

CREATE TABLE iterations (
    run_id        uuid NOT NULL,
    workspace_id  uuid NOT NULL,
    total         integer NOT NULL CHECK (total BETWEEN 1 AND 10000),
    started       integer NOT NULL CHECK (started BETWEEN 1 AND total),
    finished      integer NOT NULL DEFAULT 0 CHECK (finished BETWEEN 0 AND started),
    failed        integer NOT NULL DEFAULT 0 CHECK (failed BETWEEN 0 AND finished),
    halts         boolean NOT NULL,
    stopped       boolean NOT NULL DEFAULT false,
    node_id       text NOT NULL,
    item          text NOT NULL,
    PRIMARY KEY (run_id, node_id, item)
) WITH (fillfactor = 50, autovacuum_vacuum_scale_factor = 0.0, autovacuum_vacuum_threshold = 5000);

CREATE TABLE items (
    run_id        uuid NOT NULL,
    workspace_id  uuid NOT NULL,
    place         integer NOT NULL,
    open_steps    integer NOT NULL DEFAULT 0,
    ended         boolean NOT NULL DEFAULT false,
    node_id       text NOT NULL,
    item          text NOT NULL,
    value         text NOT NULL,
    error         text,
    PRIMARY KEY (run_id, node_id, item, place)
) PARTITION BY RANGE (run_id);

CREATE TABLE answers (
    run_id        uuid NOT NULL,
    workspace_id  uuid NOT NULL,
    answered_at   timestamptz NOT NULL DEFAULT now(),
    node_id       text NOT NULL,
    item          text NOT NULL,
    outcome       text NOT NULL,
    data          text NOT NULL,
    PRIMARY KEY (run_id, node_id, item)
);

CREATE TABLE bulk_actions (
    id            uuid PRIMARY KEY,
    workspace_id  uuid NOT NULL,
    action        text NOT NULL CHECK (action IN ('cancel', 'rerun')),
    filter        text NOT NULL,
    below         uuid NOT NULL,
    matched       integer NOT NULL DEFAULT 0,
    done          integer NOT NULL DEFAULT 0,
    failed        integer NOT NULL DEFAULT 0,
    created_by    text NOT NULL,
    created_at    timestamptz NOT NULL DEFAULT now(),
    completed_at  timestamptz
);
CREATE INDEX bulk_actions_open ON bulk_actions (id) WHERE completed_at IS NULL;

-- The tables that are partitioned by day of the run.
CREATE FUNCTION partitioned_tables() RETURNS text[]
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN ARRAY['runs', 'steps', 'items'];

CREATE OR REPLACE FUNCTION make_partitions(back integer, ahead integer) RETURNS integer
LANGUAGE plpgsql AS $$
DECLARE
    day date;
    parent text;
    child text;
    made integer := 0;
    today date := (now() AT TIME ZONE 'UTC')::date;
BEGIN
    PERFORM pg_advisory_xact_lock(hashtext('edgewise.partitions'));
    FOR day IN SELECT generate_series(today - back, today + ahead, interval '1 day')::date LOOP
        FOREACH parent IN ARRAY partitioned_tables() LOOP
            child := parent || '_' || to_char(day, 'YYYYMMDD');
            CONTINUE WHEN to_regclass(child) IS NOT NULL;
            -- runs and items are updated in place (HOT); steps are only ever inserted.
            EXECUTE format('CREATE TABLE %I (LIKE %I INCLUDING DEFAULTS INCLUDING CONSTRAINTS)'
                           ' WITH (fillfactor = %s)', child, parent, CASE parent WHEN 'steps' THEN 100 ELSE 75 END);
            EXECUTE format('ALTER TABLE %I ATTACH PARTITION %I FOR VALUES FROM (%L) TO (%L)', parent, child,
                           uuid7_floor(day::timestamp AT TIME ZONE 'UTC'),
                           uuid7_floor((day + 1)::timestamp AT TIME ZONE 'UTC'));
            made := made + 1;
        END LOOP;
    END LOOP;
    RETURN made;
END $$;

CREATE OR REPLACE FUNCTION partition_days_ahead() RETURNS integer
LANGUAGE sql STABLE AS $$
    SELECT coalesce(min(n) - 1, 60)::integer
    FROM generate_series(0, 60) AS n
    WHERE EXISTS (SELECT 1 FROM unnest(partitioned_tables()) AS t (name)
                  WHERE to_regclass(t.name || '_' || to_char((now() AT TIME ZONE 'UTC')::date + n, 'YYYYMMDD')) IS NULL)
$$;

-- A step that may run, and whom to tell of it.
CREATE TYPE opened_step AS (run_id uuid, node_id text, item text, priority smallint);

-- The path of an item: the iterator's own path and the item's place.
CREATE FUNCTION item_path(parent text, place integer) RETURNS text
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN CASE parent WHEN '-' THEN place::text ELSE parent || '.' || place END;

-- Whether a path lies at or under another one; everything lies under '-'.
CREATE FUNCTION lies_under(item text, root text) RETURNS boolean
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN root = '-' OR item = root OR starts_with(item, root || '.');

-- Notes on a run's row whether anything in it counts as active: ready, running or between retries. While nothing does, its
-- time-out stands still; if people or callbacks are waited for then, its status says so. The caller holds the row's lock.
CREATE FUNCTION note_activity(run uuid, is_active boolean) RETURNS void
LANGUAGE plpgsql
SET plan_cache_mode = force_generic_plan
AS $$
DECLARE
    active boolean := is_active OR EXISTS (
        SELECT 1 FROM open_steps
        WHERE run_id = run AND (status <> 'waiting' OR waits = 'retry' OR waits IS NULL AND claim_first));
    asked boolean := NOT active AND EXISTS (
        SELECT 1 FROM open_steps WHERE run_id = run AND status = 'waiting' AND waits IN ('callback', 'person'));
BEGIN
    UPDATE runs
    SET status = CASE WHEN asked THEN 'awaiting_ui_interaction' ELSE 'running' END,
        idle_seconds = idle_seconds + CASE WHEN active AND idle_since IS NOT NULL
                                           THEN greatest(0, extract(epoch FROM now() - idle_since)) ELSE 0 END,
        idle_since = CASE WHEN NOT active THEN coalesce(idle_since, now()) END
    WHERE id = run AND completed_at IS NULL AND status <> 'pending';
END $$;

-- Counts steps of an item that opened and ended (`delta`; its run's row is locked). When none is left the item has
-- finished: the iterator's next item starts, or, behind the last one, the iterator itself goes on.
CREATE FUNCTION settle_item(run uuid, iterator text, parent text, which integer, delta integer) RETURNS SETOF opened_step
LANGUAGE plpgsql
SET plan_cache_mode = force_generic_plan
AS $$
#variable_conflict use_column
DECLARE
    left_open integer;
    failing boolean;
    begun integer;
    done integer;
    whole integer;
    halted boolean;
    following integer;
    made opened_step;
BEGIN
    UPDATE items SET open_steps = open_steps + delta
    WHERE run_id = run AND node_id = iterator AND item = parent AND place = which
    RETURNING open_steps, error IS NOT NULL INTO left_open, failing;
    IF left_open IS DISTINCT FROM 0 THEN
        RETURN;
    END IF;
    SELECT started, finished + 1, total, stopped INTO begun, done, whole, halted
    FROM iterations WHERE run_id = run AND node_id = iterator AND item = parent;
    IF NOT FOUND THEN
        RETURN;
    END IF;
    following := CASE WHEN NOT halted AND begun < whole THEN begun END;
    UPDATE iterations
    SET finished = done, failed = failed + failing::int, started = begun + (following IS NOT NULL)::int
    WHERE run_id = run AND node_id = iterator AND item = parent;
    IF following IS NOT NULL THEN
        UPDATE items SET open_steps = 1
        WHERE run_id = run AND node_id = iterator AND item = parent AND place = following;
        INSERT INTO open_steps (run_id, workspace_id, workflow_id, priority, node_id, item, status, claim_first, wake,
                                sent_at, sends)
        SELECT run, o.workspace_id, o.workflow_id, o.priority, iterator, item_path(parent, following), 'ready', false,
               'item', now(), 1
        FROM open_steps o WHERE o.run_id = run AND o.node_id = iterator AND o.item = parent
        RETURNING run_id, node_id, item, priority INTO made;
        IF FOUND THEN  -- not if the iterator went with an item around it
            RETURN NEXT made;
        END IF;
    ELSIF done = begun THEN
        UPDATE open_steps
        SET status = 'ready', waits = NULL, wake = CASE WHEN halted THEN 'stopped' ELSE 'items' END, claim_first = false,
            sent_at = now(), sends = 1
        WHERE run_id = run AND node_id = iterator AND item = parent AND status = 'waiting'
        RETURNING run_id, node_id, item, priority INTO made;
        IF FOUND THEN
            RETURN NEXT made;
        END IF;
    END IF;
END $$;

-- A uuid7 of now, on this server's clock.
CREATE FUNCTION mint_uuid7() RETURNS uuid
LANGUAGE sql VOLATILE
RETURN (lpad(to_hex((extract(epoch FROM clock_timestamp()) * 1000)::bigint), 12, '0') || '7'
        || substr(replace(gen_random_uuid()::text, '-', ''), 14))::uuid;

-- The TypeID of a uuid, as shared/ids.py writes it.
CREATE FUNCTION typeid(prefix text, id uuid) RETURNS text
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
RETURN prefix || '_' || (
    SELECT string_agg(substr('0123456789abcdefghjkmnpqrstvwxyz',
                             substring(B'00' || ('x' || replace(id::text, '-', ''))::bit(128) FROM n * 5 + 1 FOR 5)::bit(5)::integer
                             + 1, 1), '' ORDER BY n)
    FROM generate_series(0, 25) AS n);

-- What the end of a run leads to, in the transaction that ends it: its slots are freed, the step that waits for it goes
-- on, and if it failed its workflow's error workflow starts. The rows of the run and of its caller are locked.
CREATE FUNCTION run_ended(run uuid) RETURNS SETOF opened_step
LANGUAGE plpgsql
SET plan_cache_mode = force_generic_plan
AS $$
#variable_conflict use_column
DECLARE
    ended runs%ROWTYPE;
    handler workflows%ROWTYPE;
    made opened_step;
BEGIN
    SELECT * INTO ended FROM runs WHERE id = run;
    IF ended.slots > 0 THEN
        DELETE FROM concurrency_slots WHERE workflow_id = ended.workflow_id AND run_id = run;
    END IF;
    IF ended.parent_waits THEN
        UPDATE open_steps SET status = 'ready', waits = NULL, wake = 'child', claim_first = false, sent_at = now(), sends = 1
        WHERE run_id = ended.parent_run_id AND node_id = ended.parent_node_id AND item = ended.parent_item
          AND status = 'waiting' AND child_run_id = run
        RETURNING run_id, node_id, item, priority INTO made;
        IF FOUND THEN
            PERFORM note_activity(ended.parent_run_id, true);
            RETURN NEXT made;
        END IF;
    END IF;
    -- The failure of an error workflow starts none, or two that name each other would never end.
    IF ended.status = 'failed' AND ended.trigger_type <> 'error' THEN
        SELECT e.* INTO handler FROM workflows w JOIN workflows e ON e.id = w.error_workflow_id
        WHERE w.id = ended.workflow_id AND e.workspace_id = w.workspace_id AND e.is_active AND e.deleted_at IS NULL;
        IF FOUND THEN
            made := ROW(mint_uuid7(), handler.trigger_node, '-', handler.priority);
            INSERT INTO runs (id, workspace_id, workflow_id, version, priority, trigger_type, trigger_payload, open_steps,
                              parent_run_id, depth, slots)
            VALUES (made.run_id, handler.workspace_id, handler.id, handler.version, handler.priority, 'error',
                    json_build_object(
                        'error', json_build_object('message', ended.error_message),
                        'run', json_build_object('id', typeid('fl_run', run), 'workflow_id', typeid('fl', ended.workflow_id),
                                                 'version', ended.version, 'trigger_type', ended.trigger_type))::text,
                    1, run, ended.depth + 1, CASE WHEN handler.limited THEN -1 ELSE 0 END);
            INSERT INTO open_steps (run_id, node_id, workspace_id, workflow_id, priority, status, claim_first, sent_at, sends)
            VALUES (made.run_id, made.node_id, handler.workspace_id, handler.id, handler.priority, 'ready', handler.limited,
                    now(), 1);
            RETURN NEXT made;
        END IF;
    END IF;
END $$;

-- Ends waits for a reason: timer, answer. Runs' rows are locked first, in order; with `skip` those that somebody holds are
-- left for the next time. A run that only waited counts as active again.
CREATE FUNCTION wake_steps(w_run uuid[], w_node text[], w_item text[], reason text, skip boolean) RETURNS SETOF opened_step
LANGUAGE plpgsql
SET plan_cache_mode = force_generic_plan
AS $$
#variable_conflict use_column
DECLARE
    run uuid;
    i integer;
    made opened_step;
BEGIN
    FOR run IN SELECT DISTINCT id FROM unnest(w_run) AS u (id) ORDER BY id LOOP
        IF skip THEN
            PERFORM 1 FROM runs WHERE id = run FOR NO KEY UPDATE SKIP LOCKED;
        ELSE
            PERFORM 1 FROM runs WHERE id = run FOR NO KEY UPDATE;
        END IF;
        CONTINUE WHEN NOT FOUND;
        FOREACH i IN ARRAY array_positions(w_run, run) LOOP
            UPDATE open_steps SET status = 'ready', waits = NULL, wake = reason, sent_at = now(), sends = 1
            WHERE run_id = run AND node_id = w_node[i] AND item = w_item[i] AND status = 'waiting'
            RETURNING run_id, node_id, item, priority INTO made;
            IF FOUND THEN
                RETURN NEXT made;
            END IF;
        END LOOP;
        PERFORM note_activity(run, false);
    END LOOP;
END $$;

-- A run of a limited workflow wants to begin; its first step is held under `claim`. With room it gets its slots and goes
-- on; else its workflow's policy says: it waits (`queued`), also until the oldest run under way that nobody has cancelled yet
-- is (`cancel_oldest`), or it is `skipped`. Runs with one key are always serialised. The workflow's row is locked, so slots
-- are given out one run after the other.
CREATE FUNCTION enter_limit(run uuid, claim uuid, same text, OUT verdict text, OUT oldest uuid)
LANGUAGE plpgsql
SET plan_cache_mode = force_generic_plan
AS $$
DECLARE
    flow uuid := (SELECT workflow_id FROM runs WHERE id = run);
    rules record;
    full_up boolean;
BEGIN
    SELECT limited, max_concurrent_runs AS most, settings::json ->> 'on_limit' AS policy INTO rules
    FROM workflows WHERE id = flow FOR NO KEY UPDATE;
    PERFORM 1 FROM runs WHERE id = run FOR NO KEY UPDATE;
    verdict := 'entered';
    IF (SELECT slots FROM runs WHERE id = run) > 0 THEN
        RETURN;  -- a run that goes on where another ended begins with several steps: the first of them enters for all
    END IF;
    IF NOT coalesce(rules.limited, false) THEN
        UPDATE runs SET slots = 0 WHERE id = run AND slots < 0;
        RETURN;
    END IF;
    full_up := rules.most <= (SELECT count(*) FROM concurrency_slots WHERE workflow_id = flow AND key LIKE 'run:%');
    IF coalesce(full_up, false) OR EXISTS (SELECT 1 FROM concurrency_slots WHERE workflow_id = flow AND key = 'key:' || same) THEN
        IF full_up AND rules.policy = 'skip' THEN
            verdict := 'skipped';
            RETURN;
        END IF;
        IF full_up AND rules.policy = 'cancel_oldest' THEN
            SELECT s.run_id INTO oldest FROM concurrency_slots s
            WHERE s.workflow_id = flow AND s.key LIKE 'run:%'
              AND (SELECT r.outcome FROM runs r WHERE r.id = s.run_id) IS NULL
            ORDER BY s.run_id LIMIT 1;
        END IF;
        verdict := 'queued';
        UPDATE runs SET concurrency_key = same WHERE id = run;
        UPDATE open_steps SET status = 'waiting', waits = 'concurrency', claim_id = NULL, incarnation_id = NULL
        WHERE run_id = run AND claim_id = claim;
        RETURN;
    END IF;
    PERFORM take_slots(run, same);
    UPDATE open_steps SET status = 'ready', waits = NULL, sent_at = NULL, sends = 0
    WHERE run_id = run AND status = 'waiting' AND waits = 'concurrency';
END $$;

-- Gives a run the slots it needs; its workflow's row is locked.
CREATE FUNCTION take_slots(run uuid, same text) RETURNS void
LANGUAGE sql
BEGIN ATOMIC
    INSERT INTO concurrency_slots (workspace_id, workflow_id, key, run_id)
    SELECT r.workspace_id, r.workflow_id, k.key, run
    FROM runs r CROSS JOIN (VALUES ('run:' || run), ('key:' || same)) AS k (key)
    WHERE r.id = run AND k.key IS NOT NULL;
    UPDATE runs SET slots = 1 + (same IS NOT NULL)::int WHERE id = run;
END;

-- Lets runs go on that wait for a slot of a workflow, the oldest first, as many as there is room for. Whoever gives slots
-- out at this moment is waited for: it may not have seen the slot that has just been freed.
CREATE FUNCTION admit_queued(flow uuid) RETURNS SETOF opened_step
LANGUAGE plpgsql
SET lock_timeout = '500ms'
SET plan_cache_mode = force_generic_plan
AS $$
DECLARE
    most integer;
    taken bigint;
    waiting record;
    same text;
    made opened_step;
BEGIN
    SELECT max_concurrent_runs INTO most FROM workflows WHERE id = flow FOR NO KEY UPDATE;
    IF NOT FOUND THEN
        RETURN;
    END IF;
    SELECT count(*) INTO taken FROM concurrency_slots WHERE workflow_id = flow AND key LIKE 'run:%';
    FOR waiting IN
        SELECT o.run_id, o.node_id, o.item FROM open_steps o
        WHERE o.workflow_id = flow AND o.status = 'waiting' AND o.waits = 'concurrency' ORDER BY o.run_id LIMIT 1000
    LOOP
        EXIT WHEN taken >= most;
        SELECT concurrency_key INTO same FROM runs WHERE id = waiting.run_id AND outcome IS NULL AND slots < 0
        FOR NO KEY UPDATE SKIP LOCKED;
        CONTINUE WHEN NOT FOUND
            OR EXISTS (SELECT 1 FROM concurrency_slots WHERE workflow_id = flow AND key = 'key:' || same);
        FOR made IN
            UPDATE open_steps SET status = 'ready', waits = NULL, sent_at = now(), sends = 1
            WHERE run_id = waiting.run_id AND status = 'waiting' AND waits = 'concurrency'
            RETURNING run_id, node_id, item, priority
        LOOP
            RETURN NEXT made;
        END LOOP;
        CONTINUE WHEN NOT FOUND;
        PERFORM take_slots(waiting.run_id, same);
        taken := taken + 1;
    END LOOP;
END $$;

-- An item failed: what is open of it is cancelled, or aborted if it is in flight; if its iterator halts then, so is every
-- other item of it, and no further one starts. `body` holds the ids of the nodes inside the iterator. Its run's row is locked.
CREATE FUNCTION fail_item(run uuid, iterator text, parent text, which integer, reason text, body text[])
RETURNS SETOF opened_step
LANGUAGE plpgsql
SET plan_cache_mode = force_generic_plan
AS $$
#variable_conflict use_column
DECLARE
    halt boolean := (SELECT halts FROM iterations WHERE run_id = run AND node_id = iterator AND item = parent);
    root text := CASE WHEN halt THEN parent ELSE item_path(parent, which) END;
    gone integer;
    ended_place integer;
    before integer;
    remain integer;
    made opened_step;
BEGIN
    UPDATE items SET ended = true, error = CASE WHEN place = which THEN reason ELSE error END
    WHERE run_id = run AND node_id = iterator AND item = parent AND (place = which OR halt AND open_steps > 0);
    UPDATE items SET ended = true WHERE run_id = run AND node_id = ANY (body) AND lies_under(item, root) AND NOT ended;
    IF halt THEN
        UPDATE iterations SET stopped = true WHERE run_id = run AND node_id = iterator AND item = parent;
    END IF;
    WITH removed AS (
        DELETE FROM open_steps
        WHERE run_id = run AND status <> 'running' AND item <> parent AND lies_under(item, root)
          AND (node_id = ANY (body) OR node_id = iterator)
        RETURNING workspace_id, node_id, item, attempt, wake, coalesce(started_at, now()) AS started_at
    ), recorded AS (
        INSERT INTO steps (run_id, workspace_id, seq, duration_ms, started_at, attempt, node_id, item, status)
        SELECT run, workspace_id,
               (SELECT seq FROM runs WHERE id = run) + (row_number() OVER (ORDER BY item, node_id))::int - 1, 0,
               started_at, attempt, node_id, item, 'cancelled'
        FROM removed WHERE wake IS DISTINCT FROM 'item'
    )
    SELECT count(*) INTO gone FROM removed;
    UPDATE runs SET open_steps = open_steps - gone, seq = seq + gone WHERE id = run AND gone > 0;
    UPDATE open_steps SET stop = true
    WHERE run_id = run AND status = 'running' AND item <> parent AND lies_under(item, root)
      AND (node_id = ANY (body) OR node_id = iterator);
    FOR ended_place, before IN
        SELECT place, open_steps FROM items
        WHERE run_id = run AND node_id = iterator AND item = parent AND ended AND open_steps > 0 ORDER BY place
    LOOP
        SELECT count(*) INTO remain FROM open_steps
        WHERE run_id = run AND item = item_path(parent, ended_place) AND (node_id = ANY (body) OR node_id = iterator);
        FOR made IN SELECT * FROM settle_item(run, iterator, parent, ended_place, remain - before) LOOP
            UPDATE runs SET open_steps = open_steps + 1 WHERE id = run AND made.item <> parent;
            RETURN NEXT made;
        END LOOP;
    END LOOP;
    PERFORM note_activity(run, false);
END $$;

-- Commits a batch of advances. An advance ("unit") is all that one run writes together; it is written whole or not at
-- all. Its guard is the open step it holds: who cannot take that row, under the claim id it was given, has lost, and
-- nothing of it is written.
--
-- u_  units, numbered from 1 and ordered by run, node and item: run, held node, held item, held claim (null: not claimed),
--     when it started, outcome (null, or the status the run is to end with), error message, the run's output, whether
--     steps in flight are aborted (`terminate`), how many steps it opens, the number behind its last result, and whether
--     anything it opens counts as active; of a step inside an iterator the iterator, its path, the item's place, how many
--     steps it opens at its own path, and whether it fails its item (`fail_item` follows in the same transaction); and the
--     run that waits for this one; and what had woken the held step
-- x_  results: unit, whether it is the held step's own, node, item, attempt, offset of seq, status, handle, output, input,
--     error, started, milliseconds
-- o_  steps that open: unit, node, item, status, attempt, claim, due, what it waits for, the run it waits for, wake, claim
--     first
-- a_  arrivals at joins: unit, node, item, arrived, fired, in-degree, need
-- A run that is being ended (`outcome`) still has the results of its steps in flight recorded; their edges do not fire.
--
-- It is a function so that a run row is locked first and read by a later statement, in one round trip. As one statement
-- counters were lost (39 of 50 arrivals at one join of two workers; probably it saw rows as they were before it waited for
-- the lock). Rows are looked up one by one, by their whole keys and in the order of the keys: two batches cannot deadlock,
-- a run's partition is found without opening the others, and no statistics, however stale, make it a scan (OFFSET 0 keeps
-- the planner from turning a look-up into a join; with an empty-looking table it read the whole backlog for each batch).
CREATE FUNCTION commit_advances(
    u_run uuid[], u_node text[], u_item text[], u_claim uuid[], u_started timestamptz[], u_outcome text[],
    u_error text[], u_output text[], u_abort boolean[], u_opens integer[], u_seqs integer[], u_active boolean[],
    u_iterator text[], u_parent text[], u_place integer[], u_level_opens integer[], u_fails boolean[], u_caller uuid[],
    u_wake text[],
    x_unit integer[], x_own boolean[], x_node text[], x_item text[], x_attempt smallint[], x_seq integer[],
    x_status text[], x_handle text[], x_output text[], x_input text[], x_error text[], x_started timestamptz[],
    x_ms integer[],
    o_unit integer[], o_node text[], o_item text[], o_status text[], o_attempt smallint[], o_claim uuid[],
    o_due timestamptz[], o_waits text[], o_child uuid[], o_wake text[], o_claim_first boolean[],
    a_unit integer[], a_node text[], a_item text[], a_arrived integer[], a_fired integer[], a_degree integer[],
    a_need integer[],
    incarnation uuid, ends boolean, iterates boolean, calls boolean
) RETURNS TABLE (kind text, unit integer, run_id uuid, node_id text, item text, flag boolean, status text, seconds float8)
LANGUAGE plpgsql
-- A batch that waits longer than this for a row is taken apart and sent again in pieces.
SET lock_timeout = '500ms'
SET plan_cache_mode = force_generic_plan
AS $$
#variable_conflict use_column
DECLARE
    units constant integer := cardinality(u_run);
    run uuid;
    held integer := 0;
    -- By unit: whether it got its step, and what its run's row says.
    won boolean[] := array_fill(false, ARRAY[units]);
    live boolean[] := array_fill(false, ARRAY[units]);
    -- By unit: how many joins and items it opened beyond what it says itself.
    more integer[] := array_fill(0, ARRAY[units]);
    seqs integer[] := array_fill(0, ARRAY[units]);
    priorities smallint[] := array_fill(0::smallint, ARRAY[units]);
    workspaces uuid[] := u_run;
    workflows uuid[] := u_run;
    -- A run for each step that was cancelled.
    cancelled uuid[] := '{}';
    row_live boolean;
    row_seq integer;
    row_priority smallint;
    row_workspace uuid;
    row_workflow uuid;
    delta integer;
    numbers integer;
    held_some boolean;
    ended boolean;
    called boolean;
    woken uuid[] := '{}';
    active boolean;
    holds smallint;
    made opened_step;
    began timestamptz;
    decided text;
    reason text;
    result text;
BEGIN
    IF calls THEN
        -- The end of a run wakes the step that waits for it: rows of callers are locked in one order with the others.
        FOR run IN SELECT DISTINCT id FROM unnest(u_run || u_caller) AS u (id) WHERE id IS NOT NULL ORDER BY id LOOP
            PERFORM 1 FROM runs WHERE id = run FOR NO KEY UPDATE;
        END LOOP;
        run := NULL;
    END IF;
    FOR i IN 1 .. units LOOP
        IF u_run[i] IS DISTINCT FROM run THEN
            run := u_run[i];
            SELECT outcome IS NULL, seq, priority, workspace_id, workflow_id
            INTO row_live, row_seq, row_priority, row_workspace, row_workflow
            FROM runs WHERE id = run FOR NO KEY UPDATE;
        END IF;
        live[i] := row_live;
        seqs[i] := row_seq;
        priorities[i] := row_priority;
        workspaces[i] := row_workspace;
        workflows[i] := row_workflow;
    END LOOP;
    IF ends THEN
        -- What an end cancels or stops is locked before it is looked at: a claim being made now would be neither.
        PERFORM 1 FROM generate_series(1, units) AS u (i) CROSS JOIN LATERAL (
            SELECT 1 FROM open_steps WHERE run_id = u_run[u.i] ORDER BY run_id, node_id, item FOR UPDATE OFFSET 0) AS o
        WHERE u_outcome[u.i] IS NOT NULL;
    END IF;
    -- The guard. Of two units that hold the same step, the first has it.
    kind := 'held';
    FOR i IN 1 .. units LOOP
        DELETE FROM open_steps
        WHERE run_id = u_run[i] AND node_id = u_node[i] AND item = u_item[i]
          -- Without a claim it must be ready for the same reason: a step that has begun to wait meanwhile, and was woken, is
          -- the same row and another turn. Further attempts are claimed.
          AND CASE WHEN u_claim[i] IS NULL THEN status = 'ready' AND wake IS NOT DISTINCT FROM u_wake[i]
                                                AND NOT (claim_first AND attempt > 1)
                   ELSE claim_id = u_claim[i] END;
        IF FOUND THEN
            held := held + 1;
            won[i] := true;
            IF iterates AND u_iterator[i] IS NOT NULL AND live[i] THEN
                -- What arrives of an item that has ended is recorded and starts nothing.
                SELECT NOT ended INTO flag FROM items
                WHERE run_id = u_run[i] AND node_id = u_iterator[i] AND item = u_parent[i] AND place = u_place[i];
                live[i] := coalesce(flag, false);
            END IF;
            unit := i;
            flag := live[i];
            RETURN NEXT;
        END IF;
    END LOOP;
    unit := NULL;
    IF held = 0 THEN
        RETURN;
    END IF;

    INSERT INTO steps (run_id, workspace_id, seq, duration_ms, started_at, attempt, node_id, item, status, handle, output,
                       input, error)
    SELECT u_run[x.unit], workspaces[x.unit], seqs[x.unit] + x.seq, x.duration_ms, x.started_at, x.attempt, x.node_id,
           x.item,
           -- Nobody tries a step again whose run is being ended: this attempt is its result.
           CASE WHEN x.status = 'retried' AND NOT live[x.unit] THEN 'failed' ELSE x.status END,
           x.handle, x.output, x.input, x.error
    FROM unnest(x_unit, x_own, x_node, x_item, x_attempt, x_seq, x_status, x_handle, x_output, x_input, x_error, x_started,
                x_ms)
        AS x (unit, own, node_id, item, attempt, seq, status, handle, output, input, error, started_at, duration_ms)
    WHERE won[x.unit] AND (live[x.unit] OR x.own);

    IF cardinality(o_unit) > 0 THEN
        INSERT INTO open_steps (run_id, workspace_id, workflow_id, priority, node_id, item, status, attempt, claim_id,
                                incarnation_id, started_at, due_at, waits, child_run_id, wake, sent_at, sends, claim_first)
        SELECT u_run[x.unit], workspaces[x.unit], workflows[x.unit], priorities[x.unit], x.node_id, x.item, x.status,
               x.attempt, x.claim_id, CASE WHEN x.claim_id IS NOT NULL THEN incarnation END,
               CASE WHEN x.status <> 'ready' THEN now() END, x.due_at, x.waits, x.child_run_id, x.wake,
               CASE WHEN x.status = 'ready' THEN now() END, (x.status = 'ready')::int, x.claim_first
        FROM unnest(o_unit, o_node, o_item, o_status, o_attempt, o_claim, o_due, o_waits, o_child, o_wake, o_claim_first)
            AS x (unit, node_id, item, status, attempt, claim_id, due_at, waits, child_run_id, wake, claim_first)
        WHERE won[x.unit] AND live[x.unit];
    END IF;

    IF cardinality(a_unit) > 0 THEN
        FOR unit, run_id, node_id, item IN
            WITH arrivals AS MATERIALIZED (
                SELECT u_run[a.unit] AS run_id, a.node_id, a.item, min(a.unit) AS unit, sum(a.arrived)::int AS arrived,
                       sum(a.fired)::int AS fired, max(a.degree) AS degree, max(a.need) AS need
                FROM unnest(a_unit, a_node, a_item, a_arrived, a_fired, a_degree, a_need)
                    AS a (unit, node_id, item, arrived, fired, degree, need)
                WHERE won[a.unit] AND live[a.unit] GROUP BY 1, 2, 3
            ), counted AS (
                INSERT INTO joins AS j (run_id, workspace_id, node_id, item, arrived, fired)
                SELECT run_id, workspaces[unit], node_id, item, arrived, fired FROM arrivals ORDER BY run_id, node_id, item
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
                SELECT run_id, workspaces[unit], workflows[unit], priorities[unit], node_id, item, 'ready', fires, false,
                       now(), 1
                FROM decided WHERE fires IS NOT NULL
            )
            SELECT unit, run_id, node_id, item FROM decided WHERE fires IS NOT NULL
        LOOP
            kind := 'join';
            more[unit] := more[unit] + 1;
            unit := priorities[unit];
            RETURN NEXT;
        END LOOP;
        unit := NULL;
    END IF;

    IF ends THEN
        -- The unit that ends its run takes its ready and waiting steps with it.
        WITH gone AS (
            DELETE FROM open_steps WHERE ctid = ANY (ARRAY(
                SELECT o.ctid FROM generate_series(1, units) AS u (i) CROSS JOIN LATERAL (
                    SELECT ctid FROM open_steps WHERE run_id = u_run[u.i] AND status <> 'running' OFFSET 0) AS o
                WHERE won[u.i] AND live[u.i] AND u_outcome[u.i] IS NOT NULL))
            RETURNING run_id, node_id, item, attempt, wake, coalesce(started_at, now()) AS started_at
        ), recorded AS (
            INSERT INTO steps (run_id, workspace_id, seq, duration_ms, started_at, attempt, node_id, item, status)
            SELECT g.run_id, workspaces[u.i],
                   seqs[u.i] + u_seqs[u.i] + (row_number() OVER (PARTITION BY g.run_id ORDER BY g.node_id))::int - 1,
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

    IF iterates THEN
        kind := 'join';
        FOR i IN 1 .. units LOOP
            CONTINUE WHEN u_iterator[i] IS NULL OR NOT won[i] OR live[i] AND (u_fails[i] OR u_outcome[i] IS NOT NULL);
            delta := more[i] - 1 + CASE WHEN live[i] THEN u_level_opens[i] ELSE 0 END;
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

    delta := 0;
    numbers := 0;
    held_some := false;
    active := false;
    FOR i IN 1 .. units LOOP
        IF won[i] THEN
            held_some := true;
            delta := delta - 1 + more[i];
            active := active OR more[i] > 0;
            numbers := u_seqs[i];  -- it only grows from unit to unit of a run
            began := least(began, u_started[i]);
            IF live[i] THEN
                delta := delta + u_opens[i];
                active := active OR u_active[i];
                decided := coalesce(decided, u_outcome[i]);
                reason := coalesce(reason, u_error[i]);
                result := coalesce(result, u_output[i]);
            END IF;
        END IF;
        -- Behind the last unit of a run, what all of them did to its row.
        IF held_some AND u_run[i] IS DISTINCT FROM u_run[i + 1] THEN
            run := u_run[i];
            IF cardinality(cancelled) > 0 THEN
                delta := delta - cardinality(array_positions(cancelled, run));
                numbers := numbers + cardinality(array_positions(cancelled, run));
            END IF;
            UPDATE runs
            SET open_steps = open_steps + delta,
                seq = seq + numbers,
                started_at = coalesce(started_at, began),
                idle_seconds = CASE WHEN idle_since IS NULL THEN idle_seconds
                                    ELSE idle_seconds + greatest(0, extract(epoch FROM now() - idle_since)) END,
                idle_since = NULL,
                -- With `finish_branches` a failure leaves its message, and decides once nothing is open any more.
                outcome = coalesce(outcome, decided, CASE WHEN open_steps + delta <> 0 THEN NULL
                                                          WHEN coalesce(error_message, reason) IS NOT NULL THEN 'failed'
                                                          ELSE 'completed' END),
                error_message = coalesce(error_message, reason),
                output = coalesce(output, result),
                status = CASE WHEN open_steps + delta <> 0 THEN 'running'
                              ELSE coalesce(outcome, decided, CASE WHEN coalesce(error_message, reason) IS NOT NULL
                                                                   THEN 'failed' ELSE 'completed' END) END,
                completed_at = CASE WHEN open_steps + delta = 0
                                    THEN greatest(clock_timestamp(), coalesce(started_at, began)) END
            WHERE id = run
            RETURNING id, runs.status, trigger_type, completed_at IS NOT NULL,
                      extract(epoch FROM completed_at - created_at)::float8, slots, parent_waits
            INTO run_id, status, node_id, ended, seconds, holds, flag;
            IF ended THEN
                kind := 'ended';
                unit := NULL;
                called := flag;
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
                END IF;
            ELSIF NOT active THEN
                PERFORM note_activity(run, run = ANY (woken));
            END IF;
            delta := 0;
            numbers := 0;
            held_some := false;
            active := false;
            began := NULL;
            decided := NULL;
            reason := NULL;
            result := NULL;
        END IF;
    END LOOP;
END $$;

-- What a worker needs to run a step; in the order of shared.store.taken.Loaded. Steps of an iterator's items, of which
-- there are many, come without their run's payload.
CREATE TYPE taken_step AS (
    run_id uuid, node_id text, item text, claim_id uuid, attempt smallint, fired boolean, wake text, crashes smallint,
    sent_at timestamptz, started_at timestamptz, workspace_id uuid, workflow_id uuid, version integer, trigger_type text,
    trigger_payload text, created_at timestamptz, priority smallint, ending boolean, brought text, caller uuid,
    slots smallint, depth smallint
);

-- What woke a step brought it, as JSON: an item, an answer, the end of a child run, or of an iterator the item that stopped
-- it.
CREATE FUNCTION brought_by(step open_steps) RETURNS text
LANGUAGE plpgsql STABLE
SET plan_cache_mode = force_generic_plan
AS $$
DECLARE
    found text;
BEGIN
    CASE step.wake
        WHEN 'answer' THEN
            SELECT '{"outcome":' || to_json(a.outcome) || ',"data":' || a.data || '}' INTO found FROM answers a
            WHERE a.run_id = step.run_id AND a.node_id = step.node_id AND a.item = step.item;
        WHEN 'child' THEN
            SELECT '{"run_id":' || to_json(typeid('fl_run', r.id)) || ',"status":' || to_json(r.status) || ',"output":'
                   || coalesce(r.output, 'null') || ',"error":' || coalesce(to_json(r.error_message)::text, 'null') || '}'
            INTO found FROM runs r WHERE r.id = step.child_run_id;
        WHEN 'stopped' THEN
            SELECT '{"index":' || i.place || ',"error":' || i.error || '}' INTO found FROM items i
            WHERE i.run_id = step.run_id AND i.node_id = step.node_id AND i.item = step.item AND i.error IS NOT NULL
            ORDER BY i.place LIMIT 1;
        ELSE
    END CASE;
    RETURN found;
END $$;

-- Reads ready steps that are run without a claim; the commit of what they lead to is the claim.
CREATE FUNCTION read_steps(r_run uuid[], r_node text[], r_item text[]) RETURNS SETOF taken_step
LANGUAGE plpgsql STABLE
SET plan_cache_mode = force_generic_plan
AS $$
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
    CROSS JOIN LATERAL (SELECT * FROM runs WHERE id = o.run_id OFFSET 0) AS r;
END $$;

-- Takes ready steps for an incarnation, each under a fresh claim id, and reads what is needed to run them. What another
-- transaction holds is passed over: it is being taken by somebody else.
CREATE FUNCTION take_steps(r_run uuid[], r_node text[], r_item text[], r_claim uuid[], incarnation uuid)
RETURNS SETOF taken_step
LANGUAGE plpgsql
SET plan_cache_mode = force_generic_plan
AS $$
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
    FROM claimed o CROSS JOIN LATERAL (SELECT * FROM runs WHERE id = o.run_id OFFSET 0) AS r;
END $$;

-- The outputs of settled steps, for the context of a step that goes on from stored results.
CREATE FUNCTION step_outputs(r_run uuid[], r_node text[], r_item text[])
RETURNS TABLE (run_id uuid, node_id text, item text, output text)
LANGUAGE plpgsql STABLE
SET plan_cache_mode = force_generic_plan
AS $$
#variable_conflict use_column
BEGIN
    RETURN QUERY
    SELECT s.run_id, s.node_id, s.item, s.output
    FROM generate_series(1, cardinality(r_run)) AS u (i)
    CROSS JOIN LATERAL (
        SELECT * FROM steps
        WHERE run_id = r_run[u.i] AND node_id = r_node[u.i] AND item = r_item[u.i] AND status IN ('success', 'failed')
          AND output IS NOT NULL OFFSET 0) AS s;
END $$;

-- What iterators give their bodies: the value of an item, and how many items there are.
CREATE FUNCTION item_values(r_run uuid[], r_node text[], r_item text[], r_place integer[])
RETURNS TABLE (run_id uuid, node_id text, item text, place integer, value text, total integer)
LANGUAGE plpgsql STABLE
SET plan_cache_mode = force_generic_plan
AS $$
#variable_conflict use_column
BEGIN
    RETURN QUERY
    SELECT i.run_id, i.node_id, i.item, i.place, i.value, t.total
    FROM generate_series(1, cardinality(r_run)) AS u (i)
    CROSS JOIN LATERAL (
        SELECT * FROM items
        WHERE run_id = r_run[u.i] AND node_id = r_node[u.i] AND item = r_item[u.i] AND place = r_place[u.i] OFFSET 0) AS i
    CROSS JOIN LATERAL (
        SELECT total FROM iterations WHERE run_id = i.run_id AND node_id = i.node_id AND item = i.item OFFSET 0) AS t;
END $$;

-- Begins an iterator whose step waits for its items; the first of them are open steps already.
CREATE FUNCTION begin_iteration(run uuid, iterator text, parent text, first integer, halts boolean, contents text[])
RETURNS void
LANGUAGE plpgsql
SET plan_cache_mode = force_generic_plan
AS $$
DECLARE
    workspace uuid := (SELECT workspace_id FROM runs WHERE id = run);
BEGIN
    INSERT INTO iterations (run_id, workspace_id, total, started, halts, node_id, item)
    VALUES (run, workspace, cardinality(contents), first, halts, iterator, parent);
    INSERT INTO items (run_id, workspace_id, place, open_steps, node_id, item, value)
    SELECT run, workspace, c.place - 1, (c.place <= first)::int, iterator, parent, c.value
    FROM unnest(contents) WITH ORDINALITY AS c (value, place);
END $$;
