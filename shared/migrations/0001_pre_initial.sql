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

-- Expressions here are tiny and batches small: compiling them costs more than it saves. lz4 compresses payloads several
-- times faster than pglz, where the server was built with it.
DO $$ BEGIN
    EXECUTE format('ALTER DATABASE %I SET jit = off', current_database());
    IF (SELECT 'lz4' = ANY (enumvals) FROM pg_settings WHERE name = 'default_toast_compression') THEN
        EXECUTE format('ALTER DATABASE %I SET default_toast_compression = lz4', current_database());
    END IF;
END $$;
