-- The schema of Edgewise, as the migrations leave it. A test holds the two together.
--
-- Every table carries workspace_id. Payloads and outputs are JSON kept as text: jsonb would reorder keys and refuse
-- \u0000. Times are Postgres's own. Tables that carry uniqueness across days are not partitioned.

CREATE TABLE workspaces (
    id          uuid PRIMARY KEY,
    claim       text NOT NULL UNIQUE CHECK (length(claim) BETWEEN 1 AND 128),
    created_at  timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE authorizations (
    id            uuid PRIMARY KEY,
    workspace_id  uuid NOT NULL REFERENCES workspaces,
    name          text,
    kind          text NOT NULL
                  CHECK (kind IN ('bearer', 'basic', 'header', 'oauth2_client_credentials', 'oauth2_authorization_code')),
    provider      text,
    user_id       text,
    status        text NOT NULL DEFAULT 'active' CHECK (status IN ('pending', 'active', 'revoked')),
    config        bytea,                 -- encrypted with the vault key ring
    created_at    timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX authorizations_by_workspace ON authorizations (workspace_id, id);

CREATE TABLE vault_items (
    id            uuid PRIMARY KEY,
    workspace_id  uuid NOT NULL REFERENCES workspaces,
    name          text NOT NULL CHECK (length(name) BETWEEN 3 AND 50),
    secret        bytea NOT NULL,        -- encrypted with the vault key ring
    expires_at    timestamptz,
    created_at    timestamptz NOT NULL DEFAULT now(),
    updated_at    timestamptz NOT NULL DEFAULT now(),
    UNIQUE (workspace_id, name)
);

CREATE TABLE workflows (
    id                  uuid PRIMARY KEY,
    workspace_id        uuid NOT NULL REFERENCES workspaces,
    name                text NOT NULL CHECK (length(name) BETWEEN 1 AND 255),
    description         text CHECK (length(description) <= 2000),
    authorization_id    uuid REFERENCES authorizations,
    is_active           boolean NOT NULL,
    schedule_type       text NOT NULL
                        CHECK (schedule_type IN ('manual', 'interval', 'cron', 'daily', 'weekly', 'monthly')),
    schedule_value      text,
    timezone            text NOT NULL DEFAULT 'UTC',
    settings            text NOT NULL DEFAULT '{}',
    version             integer NOT NULL CHECK (version >= 1),
    priority            smallint NOT NULL DEFAULT 1 CHECK (priority BETWEEN 0 AND 2),  -- high, normal, low
    trigger_node        text NOT NULL,   -- id of the current version's trigger node
    trigger_component   text NOT NULL,   -- its componentId
    next_run_at         timestamptz,     -- the next slot; null when nothing is scheduled
    webhook_token_hash  bytea UNIQUE CHECK (length(webhook_token_hash) = 32),          -- SHA-256, for look-up
    webhook_token       bytea,           -- the token encrypted with the vault key ring, for display
    created_at          timestamptz NOT NULL DEFAULT now(),
    updated_at          timestamptz NOT NULL DEFAULT now(),
    deleted_at          timestamptz,     -- gone for callers; its rows are removed in batches
    CHECK ((webhook_token_hash IS NULL) = (webhook_token IS NULL)),
    CHECK (next_run_at IS NULL OR schedule_type <> 'manual')
);
CREATE INDEX workflows_by_workspace ON workflows (workspace_id, id) WHERE deleted_at IS NULL;
CREATE INDEX workflows_due ON workflows (next_run_at) WHERE is_active AND deleted_at IS NULL AND next_run_at IS NOT NULL;
CREATE INDEX workflows_deleted ON workflows (deleted_at) WHERE deleted_at IS NOT NULL;

-- Immutable: a run keeps the version it was started with.
CREATE TABLE workflow_versions (
    workspace_id  uuid NOT NULL REFERENCES workspaces,
    workflow_id   uuid NOT NULL REFERENCES workflows ON DELETE CASCADE,
    version       integer NOT NULL,
    nodes         text NOT NULL,
    edges         text NOT NULL,
    settings      text NOT NULL,
    plan          text NOT NULL,
    plan_format   integer NOT NULL,      -- a worker recompiles a plan of another format from nodes and edges
    created_at    timestamptz NOT NULL DEFAULT now(),
    created_by    text NOT NULL,
    PRIMARY KEY (workflow_id, version)
);

-- One row per accepted trigger. Its partition follows from the id, a UUIDv7 minted on Postgres's clock.
CREATE TABLE runs (
    id                   uuid NOT NULL,
    workspace_id         uuid NOT NULL,
    workflow_id          uuid NOT NULL,
    version              integer NOT NULL,
    priority             smallint NOT NULL,
    created_at           timestamptz NOT NULL DEFAULT now(),
    trigger_type         text NOT NULL CHECK (trigger_type IN ('manual', 'scheduled', 'webhook')),
    trigger_payload      text NOT NULL,
    request_id           text,
    traceparent          text,
    status               text NOT NULL DEFAULT 'pending'
                         CHECK (status IN ('pending', 'running', 'awaiting_ui_interaction', 'completed', 'failed',
                                           'cancelled')),
    open_steps           integer NOT NULL CHECK (open_steps >= 0),  -- how many rows of open_steps are this run's
    seq                  integer NOT NULL DEFAULT 0,                -- the next number of a log entry
    started_at           timestamptz,
    completed_at         timestamptz,
    cancel_requested_at  timestamptz,
    outcome              text CHECK (outcome IN ('completed', 'failed', 'cancelled')),
                                         -- decided, and waiting for the steps in flight to settle
    error_message        text,
    output               text,           -- what `terminate` left
    PRIMARY KEY (id),
    CHECK ((status IN ('completed', 'failed', 'cancelled')) = (completed_at IS NOT NULL)),
    CHECK ((status IN ('completed', 'failed', 'cancelled')) = (open_steps = 0))
) PARTITION BY RANGE (id);
CREATE INDEX runs_by_workflow ON runs (workflow_id, id);

-- The settled steps: one row per attempt, written once. What a trigger gave out is composed from the run when read.
CREATE TABLE steps (
    run_id        uuid NOT NULL,
    workspace_id  uuid NOT NULL,
    seq           integer NOT NULL,
    duration_ms   integer NOT NULL,
    started_at    timestamptz NOT NULL,
    attempt       smallint NOT NULL,
    node_id       text NOT NULL,
    item          text NOT NULL,
    status        text NOT NULL CHECK (status IN ('success', 'failed', 'skipped', 'cancelled', 'retried')),
    handle        text,
    output        text,
    input         text,                  -- what an effect was called with
    error         text,                  -- {code, message, status, body}
    PRIMARY KEY (run_id, node_id, item, attempt),
    CHECK ((status IN ('failed', 'retried')) = (error IS NOT NULL))
) PARTITION BY RANGE (run_id);

-- The steps that are open, and nothing else: what looks for work reads a small table whatever the history.
-- ready with sent_at: a message was sent for it; ready without: the scheduler tops it up.
CREATE TABLE open_steps (
    run_id          uuid NOT NULL,
    workspace_id    uuid NOT NULL,
    workflow_id     uuid NOT NULL,
    claim_id        uuid,                -- fresh for every claim; guards every transition out of running
    incarnation_id  uuid,
    sent_at         timestamptz,
    due_at          timestamptz,
    started_at      timestamptz,         -- when this attempt, or this wait, began
    priority        smallint NOT NULL,
    attempt         smallint NOT NULL DEFAULT 1,
    sends           smallint NOT NULL DEFAULT 0,
    crashes         smallint NOT NULL DEFAULT 0,
    fired           boolean NOT NULL DEFAULT true,   -- false: a join none of whose edges fired; whoever takes it passes the skip on
    claim_first     boolean NOT NULL DEFAULT true,   -- whether it must be claimed before it is run
    stop            boolean NOT NULL DEFAULT false,  -- the run is being ended: abort what is in flight
    status          text NOT NULL CHECK (status IN ('ready', 'running', 'waiting')),
    node_id         text NOT NULL,
    item            text NOT NULL DEFAULT '-',
    wake            text,                -- why a wait ended: timer
    PRIMARY KEY (run_id, node_id, item),
    CHECK ((status = 'running') = (claim_id IS NOT NULL)),
    CHECK ((status = 'running') = (incarnation_id IS NOT NULL)),
    CHECK (status <> 'waiting' OR due_at IS NOT NULL)
) WITH (
    fillfactor = 70,
    -- A queue's table: it stays small only if it is vacuumed often.
    autovacuum_vacuum_scale_factor = 0.0, autovacuum_vacuum_threshold = 5000,
    autovacuum_vacuum_insert_scale_factor = 0.0, autovacuum_vacuum_insert_threshold = 100000,
    autovacuum_analyze_scale_factor = 0.0, autovacuum_analyze_threshold = 20000,
    autovacuum_vacuum_cost_delay = 0
);
CREATE INDEX open_steps_unsent ON open_steps (priority, workspace_id, workflow_id, run_id)
    WHERE status = 'ready' AND sent_at IS NULL;
CREATE INDEX open_steps_sent ON open_steps (sent_at) WHERE status = 'ready' AND sent_at IS NOT NULL;
CREATE INDEX open_steps_due ON open_steps (due_at) WHERE status = 'waiting';
CREATE INDEX open_steps_held ON open_steps (incarnation_id) WHERE status = 'running';

-- How many edges of a join have been settled, and how many of them fired, by walks that ended before the join could run.
CREATE TABLE joins (
    run_id        uuid NOT NULL,
    workspace_id  uuid NOT NULL,
    arrived       integer NOT NULL CHECK (arrived > 0),
    fired         integer NOT NULL CHECK (fired BETWEEN 0 AND arrived),
    node_id       text NOT NULL,
    item          text NOT NULL,
    PRIMARY KEY (run_id, node_id, item)
) WITH (fillfactor = 50, autovacuum_vacuum_scale_factor = 0.0, autovacuum_vacuum_threshold = 5000);

-- One row per start of a worker process. Dead is final.
CREATE TABLE incarnations (
    id            uuid PRIMARY KEY,
    host          text NOT NULL,
    pid           integer NOT NULL,
    started_at    timestamptz NOT NULL DEFAULT now(),
    heartbeat_at  timestamptz NOT NULL DEFAULT now(),
    dead_at       timestamptz
) WITH (fillfactor = 50);

CREATE TABLE schedule_slots (
    workspace_id  uuid NOT NULL,
    workflow_id   uuid NOT NULL REFERENCES workflows ON DELETE CASCADE,
    slot          timestamptz NOT NULL,
    run_id        uuid NOT NULL,
    created_at    timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (workflow_id, slot)
);

CREATE TABLE dedupe (
    workspace_id  uuid NOT NULL,
    workflow_id   uuid NOT NULL REFERENCES workflows ON DELETE CASCADE,
    key           text NOT NULL,
    run_id        uuid NOT NULL,
    created_at    timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (workflow_id, key)
);

CREATE TABLE idempotency (
    workspace_id  uuid NOT NULL REFERENCES workspaces,
    method        text NOT NULL,
    route         text NOT NULL,
    key           text NOT NULL CHECK (length(key) BETWEEN 1 AND 255),
    body_hash     bytea NOT NULL CHECK (length(body_hash) = 32),
    status        smallint NOT NULL,
    headers       text NOT NULL,
    body          bytea NOT NULL,        -- encrypted with the vault key ring when `secret`
    secret        boolean NOT NULL DEFAULT false,
    created_at    timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (workspace_id, method, route, key)
);
CREATE INDEX idempotency_old ON idempotency (created_at);

CREATE TABLE concurrency_slots (
    workspace_id  uuid NOT NULL,
    workflow_id   uuid NOT NULL REFERENCES workflows ON DELETE CASCADE,
    key           text NOT NULL,
    run_id        uuid NOT NULL,
    PRIMARY KEY (workflow_id, key)
);

CREATE TABLE audit (
    id             uuid PRIMARY KEY,
    workspace_id   uuid NOT NULL,
    at             timestamptz NOT NULL DEFAULT now(),
    actor          text NOT NULL,        -- the token's subject
    action         text NOT NULL,        -- workflow.create, workflow.update, ...
    target         text NOT NULL,
    before_digest  bytea,
    after_digest   bytea,
    request_id     text
);
CREATE INDEX audit_by_workspace ON audit (workspace_id, id);

-- The least uuid whose UUIDv7 time is this moment: the bound between two partitions.
CREATE FUNCTION uuid7_floor(moment timestamptz) RETURNS uuid
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
RETURN (lpad(to_hex((extract(epoch FROM moment) * 1000)::bigint), 12, '0') || repeat('0', 20))::uuid;

-- Makes the daily partitions of runs and steps from `back` days ago to `ahead` days from now; returns how many it made.
-- ATTACH takes a lighter lock than CREATE ... PARTITION OF, so it does not stop the traffic.
CREATE FUNCTION make_partitions(back integer, ahead integer) RETURNS integer
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
        FOREACH parent IN ARRAY ARRAY['runs', 'steps'] LOOP
            child := parent || '_' || to_char(day, 'YYYYMMDD');
            CONTINUE WHEN to_regclass(child) IS NOT NULL;
            -- runs are updated in place (HOT); steps are only ever inserted.
            EXECUTE format('CREATE TABLE %I (LIKE %I INCLUDING DEFAULTS INCLUDING CONSTRAINTS)'
                           ' WITH (fillfactor = %s)', child, parent, CASE parent WHEN 'runs' THEN 75 ELSE 100 END);
            EXECUTE format('ALTER TABLE %I ATTACH PARTITION %I FOR VALUES FROM (%L) TO (%L)', parent, child,
                           uuid7_floor(day::timestamp AT TIME ZONE 'UTC'),
                           uuid7_floor((day + 1)::timestamp AT TIME ZONE 'UTC'));
            made := made + 1;
        END LOOP;
    END LOOP;
    RETURN made;
END $$;

-- How many whole days from now partitions of both tables exist without a gap.
CREATE FUNCTION partition_days_ahead() RETURNS integer
LANGUAGE sql STABLE AS $$
    SELECT coalesce(min(n) - 1, 60)::integer
    FROM generate_series(0, 60) AS n
    WHERE to_regclass('runs_' || to_char((now() AT TIME ZONE 'UTC')::date + n, 'YYYYMMDD')) IS NULL
       OR to_regclass('steps_' || to_char((now() AT TIME ZONE 'UTC')::date + n, 'YYYYMMDD')) IS NULL
$$;

-- Commits a batch of advances. An advance ("unit") is all that one run writes together; it is written whole or not at
-- all. Its guard is the open step it holds: who cannot delete that row, under the claim id it was given, has lost, and
-- every other write joins the rows the guard returned.
--
-- u_  units: number, run, held node, held item, held claim (null: not claimed), when it started, outcome (null, or the
--     status the run is to end with), error message, the run's output, whether steps in flight are aborted (`terminate`)
-- x_  results: unit, whether it is the held step's own, node, item, attempt, offset of seq, status, handle, output, input,
--     error, started, milliseconds
-- o_  steps that open: unit, node, item, status, attempt, claim, due, sent, claim first
-- a_  arrivals at joins: unit, node, item, arrived, fired, in-degree, need
-- low and high are the least and greatest run id: they let Postgres pass over the partitions of other days.
--
-- A run that is being ended (`outcome`) still has the results of its steps in flight recorded; their edges do not fire.
--
-- It is a function for the sake of two snapshots in one round trip. The first statement locks the run rows, in the order
-- of their ids; the second sees what the former holders of these locks committed. In one statement it would see the rows
-- as they were before it waited, and counters were lost: 39 of 50 arrivals at one join of two workers.
CREATE FUNCTION commit_advances(
    u_unit int[], u_run uuid[], u_node text[], u_item text[], u_claim uuid[], u_started timestamptz[],
    u_outcome text[], u_error text[], u_output text[], x_unit int[], x_own boolean[], x_node text[], x_item text[],
    x_attempt smallint[], x_seq int[], x_status text[], x_handle text[], x_output text[], x_input text[],
    x_error text[], x_started timestamptz[], x_ms int[], o_unit int[], o_node text[], o_item text[],
    o_status text[], o_attempt smallint[], o_claim uuid[], o_due timestamptz[], o_sent boolean[],
    o_claim_first boolean[], a_unit int[], a_node text[], a_item text[], a_arrived int[], a_fired int[],
    a_degree int[], a_need int[], incarnation uuid, low uuid, high uuid, u_abort boolean[]
) RETURNS TABLE (kind text, unit integer, run_id uuid, node_id text, item text, flag boolean, status text, seconds float8)
LANGUAGE plpgsql
-- A batch that waits longer than this for a row is taken apart and sent again in pieces.
SET lock_timeout = '500ms'
AS $$
#variable_conflict use_column
BEGIN
    PERFORM 1 FROM runs WHERE id = ANY (u_run) AND id BETWEEN low AND high ORDER BY id FOR NO KEY UPDATE;

    -- What a run's end cancels or stops is locked before it is looked at: a claim that is being made would be neither.
    PERFORM 1 FROM open_steps o JOIN unnest(u_run, u_outcome) AS u (run_id, outcome) ON u.run_id = o.run_id
    WHERE u.outcome IS NOT NULL ORDER BY o.run_id, o.node_id, o.item FOR UPDATE OF o;

    RETURN QUERY
    WITH units AS (
        SELECT * FROM unnest(u_unit, u_run, u_node, u_item, u_claim, u_started, u_outcome,
                             u_error, u_output, u_abort)
            AS u (unit, run_id, node_id, item, claim_id, started_at, outcome, error_message, output, abort)
    ), locked_runs AS MATERIALIZED (
        SELECT id, workspace_id, workflow_id, priority, seq, outcome IS NULL AS live
        FROM runs WHERE id = ANY (u_run) AND id BETWEEN low AND high
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
        SELECT * FROM unnest(x_unit, x_own, x_node, x_item, x_attempt, x_seq, x_status,
                             x_handle, x_output, x_input, x_error, x_started, x_ms)
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
               CASE WHEN x.claim_id IS NOT NULL THEN incarnation END, CASE WHEN x.status <> 'ready' THEN now() END, x.due_at,
               CASE WHEN x.sent THEN now() END, x.sent::int, x.claim_first
        FROM unnest(o_unit, o_node, o_item, o_status, o_attempt, o_claim, o_due,
                    o_sent, o_claim_first)
            AS x (unit, node_id, item, status, attempt, claim_id, due_at, sent, claim_first)
        JOIN held h USING (unit) JOIN locked_runs r ON r.id = h.run_id
        WHERE h.live
        RETURNING run_id
    ), arrivals AS (
        SELECT h.run_id, a.node_id, a.item, sum(a.arrived)::int AS arrived, sum(a.fired)::int AS fired,
               max(a.degree) AS degree, max(a.need) AS need
        FROM unnest(a_unit, a_node, a_item, a_arrived, a_fired, a_degree, a_need)
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
        WHERE r.id = m.run_id AND r.id BETWEEN low AND high
        RETURNING r.id, r.status, r.trigger_type, extract(epoch FROM r.completed_at - r.created_at)::float8 AS seconds
    )
    SELECT 'held' AS kind, unit, run_id, NULL AS node_id, NULL AS item, live AS flag, NULL AS status, NULL::float8 AS seconds
    FROM held
    UNION ALL
    SELECT 'join', NULL, run_id, node_id, item, NULL, NULL, NULL FROM opened_joins
    UNION ALL
    SELECT 'ended', NULL, id, trigger_type, NULL, NULL, status, seconds FROM ended WHERE status IN ('completed', 'failed', 'cancelled');
END $$;

-- Expressions here are tiny and batches small: compiling them costs more than it saves. lz4 compresses payloads several
-- times faster than pglz, where the server was built with it.
DO $$ BEGIN
    EXECUTE format('ALTER DATABASE %I SET jit = off', current_database());
    IF (SELECT 'lz4' = ANY (enumvals) FROM pg_settings WHERE name = 'default_toast_compression') THEN
        EXECUTE format('ALTER DATABASE %I SET default_toast_compression = lz4', current_database());
    END IF;
END $$;
