-- The schema of Edgewise, as the migrations leave it. A test holds the two together.
--
-- Every table carries workspace_id. Payloads and outputs are JSON kept as text: jsonb would reorder keys and refuse
-- \u0000. Times are Postgres's own. Tables that carry uniqueness across days are not partitioned.

-- Closed sets of words are domains: a domain's rule is compiled once per session, a table's CHECK is parsed again by every
-- statement that writes to it, and lists of words parse slowly (40 microseconds an update of a run).
CREATE DOMAIN run_status AS text
    CHECK (VALUE IN ('pending', 'running', 'awaiting_ui_interaction', 'completed', 'failed', 'cancelled'));
CREATE DOMAIN run_outcome AS text CHECK (VALUE IN ('completed', 'failed', 'cancelled'));
CREATE DOMAIN trigger_type AS text
    CHECK (VALUE IN ('manual', 'scheduled', 'webhook', 'sync', 'workflow', 'event', 'error'));
CREATE DOMAIN wait_reason AS text
    CHECK (VALUE IN ('timer', 'retry', 'callback', 'person', 'child_run', 'items', 'concurrency'));
CREATE DOMAIN open_status AS text CHECK (VALUE IN ('ready', 'running', 'waiting'));
CREATE DOMAIN settled_status AS text CHECK (VALUE IN ('success', 'failed', 'skipped', 'cancelled', 'retried'));

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
    created_at    timestamptz NOT NULL DEFAULT now(),
    token           bytea,               -- what OAuth2 gave, encrypted likewise
    generation      integer NOT NULL DEFAULT 0,          -- rises with every token that is stored
    refresh_at      timestamptz,         -- from when on the token is to be renewed; null: not before it is refused
    refresh_id      uuid,                -- who renews it just now,
    refresh_until   timestamptz,         -- and until when nobody else may
    revoked_because text,
    retry_at        timestamptz,         -- from when on a revoked one may be tried again; null: not without a new consent
    CHECK ((refresh_id IS NULL) = (refresh_until IS NULL)),
    CHECK ((status = 'revoked') = (revoked_because IS NOT NULL))
);
CREATE INDEX authorizations_by_workspace ON authorizations (workspace_id, id);

-- Consents of OAuth2 that are asked for and have not been given yet. A row is taken by the one callback that comes in time.
CREATE TABLE authorization_logins (
    state_hash        bytea PRIMARY KEY CHECK (length(state_hash) = 32),                 -- SHA-256
    workspace_id      uuid NOT NULL REFERENCES workspaces,
    authorization_id  uuid NOT NULL REFERENCES authorizations ON DELETE CASCADE,
    verifier          bytea NOT NULL,    -- of PKCE, encrypted with the vault key ring
    expires_at        timestamptz NOT NULL
);
CREATE INDEX authorization_logins_by_authorization ON authorization_logins (authorization_id);
CREATE INDEX authorization_logins_by_expiry ON authorization_logins (expires_at);

CREATE TABLE vault_items (
    id            uuid PRIMARY KEY,
    workspace_id  uuid NOT NULL REFERENCES workspaces,
    name          text NOT NULL CHECK (length(name) BETWEEN 3 AND 50),
    secret        bytea,                 -- encrypted with the vault key ring; null for an API key
    expires_at    timestamptz,
    created_at    timestamptz NOT NULL DEFAULT now(),
    updated_at    timestamptz NOT NULL DEFAULT now(),
    key_hash      bytea CHECK (length(key_hash) = 32),               -- of an API key: SHA-256, for look-up
    UNIQUE (workspace_id, name),
    CHECK ((secret IS NULL) <> (key_hash IS NULL))
);
CREATE UNIQUE INDEX vault_items_by_key ON vault_items (key_hash) WHERE key_hash IS NOT NULL;

CREATE TABLE workflows (
    id                  uuid PRIMARY KEY,
    workspace_id        uuid NOT NULL REFERENCES workspaces,
    name                text NOT NULL CHECK (length(name) BETWEEN 1 AND 255),
    description         text CHECK (length(description) <= 2000),
    authorization_id    uuid,            -- checked when it is saved; may have been deleted since
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
    webhook_token_hash  bytea CHECK (length(webhook_token_hash) = 32),                 -- SHA-256, for look-up
    webhook_token       bytea,           -- the token encrypted with the vault key ring, for display
    created_at          timestamptz NOT NULL DEFAULT now(),
    updated_at          timestamptz NOT NULL DEFAULT now(),
    deleted_at          timestamptz,     -- gone for callers; its rows are removed in batches
    max_concurrent_runs integer CHECK (max_concurrent_runs >= 1),     -- these four are settings that are read live
    limited             boolean NOT NULL DEFAULT false,               -- there is a limit, or some of its runs are serialised
    error_workflow_id   uuid,
    run_timeout         integer NOT NULL DEFAULT 3600 CHECK (run_timeout >= 1),    -- seconds; the least of all versions
    keep_runs_days      integer CHECK (keep_runs_days >= 1),         -- the workflow's own retention, a setting that is read live
    previous_token_hash bytea CHECK (length(previous_token_hash) = 32),
                                         -- SHA-256 of the token before the last rotation; it works until then:
    previous_token_until timestamptz,
    CONSTRAINT workflows_previous_token CHECK ((previous_token_hash IS NULL) = (previous_token_until IS NULL)),
    CHECK ((webhook_token_hash IS NULL) = (webhook_token IS NULL)),
    CHECK (next_run_at IS NULL OR schedule_type <> 'manual')
) WITH (fillfactor = 80);  -- a slot moves next_run_at, which is indexed: on the same page that is logged as a difference
CREATE INDEX workflows_by_workspace ON workflows (workspace_id, id) WHERE deleted_at IS NULL;
CREATE INDEX workflows_due ON workflows (next_run_at) WHERE is_active AND deleted_at IS NULL AND next_run_at IS NOT NULL;
-- Partial, for each slot of a schedule writes into every index that its workflow is in.
CREATE UNIQUE INDEX workflows_by_token ON workflows (webhook_token_hash) WHERE webhook_token_hash IS NOT NULL;
CREATE UNIQUE INDEX workflows_by_previous_token ON workflows (previous_token_hash) WHERE previous_token_hash IS NOT NULL;
CREATE INDEX workflows_deleted ON workflows (deleted_at) WHERE deleted_at IS NOT NULL;
CREATE INDEX workflows_keeping ON workflows (id) WHERE keep_runs_days IS NOT NULL;
CREATE INDEX workflows_by_authorization ON workflows (authorization_id) WHERE authorization_id IS NOT NULL;

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
    run_timeout   integer NOT NULL DEFAULT 3600 CHECK (run_timeout >= 1),          -- seconds of active time
    webhook       text,                  -- what its webhook trigger asks of requests, JSON; null: nothing
    authorization_id uuid,               -- what its api_calls present; may have been deleted since
    PRIMARY KEY (workflow_id, version)
);

-- Which workflows the current version of a workflow calls.
CREATE TABLE workflow_calls (
    workspace_id  uuid NOT NULL,
    workflow_id   uuid NOT NULL REFERENCES workflows ON DELETE CASCADE,
    callee_id     uuid NOT NULL,
    PRIMARY KEY (workflow_id, callee_id)
);
CREATE INDEX workflow_calls_by_callee ON workflow_calls (callee_id);

-- Which vault items the current version of a workflow names.
CREATE TABLE vault_uses (
    workspace_id  uuid NOT NULL,
    workflow_id   uuid NOT NULL REFERENCES workflows ON DELETE CASCADE,
    name          text NOT NULL,
    PRIMARY KEY (workflow_id, name)
);
CREATE INDEX vault_uses_by_name ON vault_uses (workspace_id, name);

-- What the current version of a workflow asks of the context that it is called with, as JSON Schema.
CREATE TABLE input_schemas (
    workflow_id   uuid PRIMARY KEY REFERENCES workflows ON DELETE CASCADE,
    workspace_id  uuid NOT NULL,
    schema        text NOT NULL
);

-- Which workflow listens to which event: of its current version, if that begins with an `event_trigger`.
CREATE TABLE event_listeners (
    workflow_id   uuid PRIMARY KEY REFERENCES workflows ON DELETE CASCADE,
    workspace_id  uuid NOT NULL,
    event         text NOT NULL CHECK (length(event) BETWEEN 1 AND 128),
    filter        text                   -- {logic, rules} as JSON; null lets every event pass
);
CREATE INDEX event_listeners_by_event ON event_listeners (workspace_id, event, workflow_id);

-- One row per accepted trigger. Its partition follows from the id, a UUIDv7 minted on Postgres's clock.
CREATE TABLE runs (
    id                   uuid NOT NULL,
    workspace_id         uuid NOT NULL,
    workflow_id          uuid NOT NULL,
    version              integer NOT NULL,
    priority             smallint NOT NULL,
    created_at           timestamptz NOT NULL DEFAULT now(),
    trigger_type         trigger_type NOT NULL,
    trigger_payload      text NOT NULL,
    request_id           text,
    traceparent          text,
    status               run_status NOT NULL DEFAULT 'pending',
    open_steps           integer NOT NULL,   -- how many rows of open_steps are this run's
    seq                  integer NOT NULL DEFAULT 0,                -- the next number of a log entry
    started_at           timestamptz,
    completed_at         timestamptz,
    cancel_requested_at  timestamptz,
    outcome              run_outcome,
                                         -- decided: the status once no step is open any more
    error_message        text,
    output               text,           -- what `terminate` left
    parent_run_id        uuid,           -- the run whose step started this one, that step, and whether it waits for the end
    parent_node_id       text,
    parent_item          text,
    parent_waits         boolean NOT NULL DEFAULT false,
    depth                smallint NOT NULL DEFAULT 0,               -- how many runs stand above it
    slots                smallint NOT NULL DEFAULT 0,               -- how many rows of concurrency_slots it holds
    rerun_of             uuid,
    started_by           text,           -- the subject of the token it was started with
    idle_since           timestamptz,    -- set while every open step waits for something other than a retry
    idle_seconds         float8 NOT NULL DEFAULT 0,                 -- how long it was so before
    concurrency_key      text,           -- while it waits for a slot: what it is serialised by
    PRIMARY KEY (id),
    -- A run ends with its last step, and has its outcome then.
    CHECK (CASE WHEN completed_at IS NULL THEN open_steps > 0 ELSE open_steps = 0 AND status = outcome END)
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
    status        settled_status NOT NULL,
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
    status          open_status NOT NULL,
    node_id         text NOT NULL,
    item            text NOT NULL DEFAULT '-',
    wake            text,                -- why it is ready: timer, answer, child (or why there is no child: `start_child`), items,
                                         -- stopped; or `item`: the start of an item
    waits           wait_reason,         -- what it waits for
    child_run_id    uuid,
    PRIMARY KEY (run_id, node_id, item),
    CHECK ((status = 'running') = (claim_id IS NOT NULL)),
    CHECK ((status = 'running') = (incarnation_id IS NOT NULL)),
    CHECK (status <> 'waiting' OR due_at IS NOT NULL OR waits IS NOT NULL)
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
CREATE INDEX open_steps_children ON open_steps (child_run_id) WHERE child_run_id IS NOT NULL;
CREATE INDEX open_steps_queued ON open_steps (workflow_id, run_id) WHERE status = 'waiting' AND waits = 'concurrency';

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

-- One row per iterator that has begun: of its items, how many were started, have finished, and failed.
CREATE TABLE iterations (
    run_id        uuid NOT NULL,
    workspace_id  uuid NOT NULL,
    total         integer NOT NULL CHECK (total BETWEEN 1 AND 10000),
    started       integer NOT NULL CHECK (started BETWEEN 1 AND total),
    finished      integer NOT NULL DEFAULT 0 CHECK (finished BETWEEN 0 AND started),
    failed        integer NOT NULL DEFAULT 0 CHECK (failed BETWEEN 0 AND finished),
    halts         boolean NOT NULL,                  -- whether a failed item stops the others
    stopped       boolean NOT NULL DEFAULT false,    -- an item failed, and no further one is to start
    node_id       text NOT NULL,
    item          text NOT NULL,
    PRIMARY KEY (run_id, node_id, item)
) WITH (fillfactor = 50, autovacuum_vacuum_scale_factor = 0.0, autovacuum_vacuum_threshold = 5000);

-- The items of iterators; `item` is the path of the iterator's own step, so the item's is that and the place.
CREATE TABLE items (
    run_id        uuid NOT NULL,
    workspace_id  uuid NOT NULL,
    place         integer NOT NULL,
    open_steps    integer NOT NULL DEFAULT 0,        -- how many rows of open_steps are at this very path
    ended         boolean NOT NULL DEFAULT false,    -- what still arrives is recorded and starts nothing
    node_id       text NOT NULL,
    item          text NOT NULL,
    value         text NOT NULL,
    error         text,
    PRIMARY KEY (run_id, node_id, item, place)
) PARTITION BY RANGE (run_id);

-- What people and callbacks answered, kept from before the wait begins; and what they are asked, from when it begins.
CREATE TABLE answers (
    run_id        uuid NOT NULL,
    workspace_id  uuid NOT NULL,
    answered_at   timestamptz NOT NULL DEFAULT now(),   -- without an answer: when it was asked
    node_id       text NOT NULL,
    item          text NOT NULL,
    outcome       text,
    data          text,
    question      text,                  -- shared/questions.py, templates rendered
    PRIMARY KEY (run_id, node_id, item),
    CHECK ((outcome IS NULL) = (data IS NULL))
);

-- The secrets that runs under way have used, written before the step begins that uses one: whoever records something of
-- such a run blanks them, whatever became of the vault item meanwhile.
CREATE TABLE run_secrets (
    run_id        uuid NOT NULL,
    workspace_id  uuid NOT NULL,
    digest        bytea NOT NULL CHECK (length(digest) = 32),        -- an HMAC of the secret: it stands once
    secret        bytea NOT NULL,        -- encrypted with the vault key ring
    PRIMARY KEY (run_id, digest)
) WITH (autovacuum_vacuum_scale_factor = 0.0, autovacuum_vacuum_threshold = 5000);

-- Actions over many runs; the scheduler works them off from the newest run down.
CREATE TABLE bulk_actions (
    id            uuid PRIMARY KEY,
    workspace_id  uuid NOT NULL,
    action        text NOT NULL CHECK (action IN ('cancel', 'rerun')),
    filter        text NOT NULL,
    below         uuid NOT NULL,         -- what has a smaller id is still to be looked at
    matched       integer NOT NULL DEFAULT 0,
    done          integer NOT NULL DEFAULT 0,
    failed        integer NOT NULL DEFAULT 0,
    created_by    text NOT NULL,
    created_at    timestamptz NOT NULL DEFAULT now(),
    completed_at  timestamptz
);
CREATE INDEX bulk_actions_open ON bulk_actions (id) WHERE completed_at IS NULL;

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
CREATE INDEX schedule_slots_old ON schedule_slots (created_at);

-- The runs that schedules started, as long as they are open, of workflows whose `overlap` is not `allow`. What has ended is
-- dropped when somebody looks.
CREATE TABLE scheduled_runs (
    workspace_id  uuid NOT NULL,
    workflow_id   uuid NOT NULL REFERENCES workflows ON DELETE CASCADE,
    slot          timestamptz NOT NULL,
    run_id        uuid NOT NULL,
    PRIMARY KEY (workflow_id, slot)
);
CREATE INDEX scheduled_runs_by_run ON scheduled_runs (run_id);

CREATE TABLE dedupe (
    workspace_id  uuid NOT NULL,
    workflow_id   uuid NOT NULL REFERENCES workflows ON DELETE CASCADE,
    key           text NOT NULL,
    run_id        uuid NOT NULL,
    created_at    timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (workflow_id, key)
);
CREATE INDEX dedupe_old ON dedupe (created_at);

-- Requests to webhooks that made no run: repeats, handshakes, and those that were refused. What made one is its run's row.
CREATE TABLE deliveries (
    id            uuid PRIMARY KEY,      -- a UUIDv7: it says when the request came
    workspace_id  uuid NOT NULL,
    workflow_id   uuid NOT NULL,
    run_id        uuid,                  -- of a repeat, the first one's run
    status        smallint NOT NULL,     -- what it was answered with
    outcome       text NOT NULL,
    code          text,                  -- of the error it was answered with
    request       text,                  -- like a run's payload; null if it was not kept
    whole         boolean NOT NULL       -- whether the body is all there, so that it can be replayed
);
CREATE INDEX deliveries_by_workflow ON deliveries (workflow_id, id);

-- Replays of many deliveries; the scheduler works them off from the oldest delivery up, so many a second.
CREATE TABLE delivery_replays (
    id            uuid PRIMARY KEY,
    workspace_id  uuid NOT NULL,
    workflow_id   uuid NOT NULL,
    filter        text NOT NULL,
    above         uuid NOT NULL,         -- what has a greater id is still to be looked at,
    below         uuid NOT NULL,         -- as long as it is less than this
    per_second    integer NOT NULL CHECK (per_second BETWEEN 1 AND 100),
    next_at       timestamptz NOT NULL DEFAULT now(),   -- the next batch is not made before
    matched       integer NOT NULL DEFAULT 0,
    done          integer NOT NULL DEFAULT 0,
    failed        integer NOT NULL DEFAULT 0,
    created_by    text NOT NULL,
    created_at    timestamptz NOT NULL DEFAULT now(),
    completed_at  timestamptz
);
CREATE INDEX delivery_replays_open ON delivery_replays (next_at) WHERE completed_at IS NULL;

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

-- The tables that are partitioned by day of the run.
CREATE FUNCTION partitioned_tables() RETURNS text[]
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN ARRAY['runs', 'steps', 'items'];

-- The storage parameters of a partition. A run's row is inserted once and updated at least once, by a batch that updates its
-- neighbours, too: room for a second version of every row on a page makes all of these updates HOT. Items are updated
-- twice. Steps are only ever inserted: vacuumed in portions, and frozen at once, they are never read for that again.
CREATE FUNCTION storage_of(parent text) RETURNS text
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN CASE parent
    WHEN 'runs' THEN 'fillfactor = 45, autovacuum_freeze_min_age = 0'
    WHEN 'items' THEN 'fillfactor = 50, autovacuum_freeze_min_age = 0'
    ELSE 'fillfactor = 100, autovacuum_freeze_min_age = 0, autovacuum_vacuum_insert_scale_factor = 0.0,'
         ' autovacuum_vacuum_insert_threshold = 100000'
END;

-- Makes their daily partitions from `back` days ago to `ahead` days from now; returns how many it made.
-- ATTACH takes a lighter lock than CREATE ... PARTITION OF, so it does not stop the traffic.
-- Of two indexes that cost the same the planner takes the younger one, and in a table known to be empty all cost the same. So
-- ATTACH makes the primary key last: otherwise plans that were made for an empty day would look runs up by their id in the
-- index by workflow, all of which they go through.
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
        FOREACH parent IN ARRAY partitioned_tables() LOOP
            child := parent || '_' || to_char(day, 'YYYYMMDD');
            CONTINUE WHEN to_regclass(child) IS NOT NULL;
            EXECUTE format('CREATE TABLE %I (LIKE %I INCLUDING DEFAULTS INCLUDING CONSTRAINTS INCLUDING STORAGE) WITH (%s)',
                           child, parent, storage_of(parent));
            IF parent = 'runs' THEN
                EXECUTE format('CREATE INDEX ON %I (workflow_id, id)', child);
            END IF;
            EXECUTE format('ALTER TABLE %I ATTACH PARTITION %I FOR VALUES FROM (%L) TO (%L)', parent, child,
                           uuid7_floor(day::timestamp AT TIME ZONE 'UTC'),
                           uuid7_floor((day + 1)::timestamp AT TIME ZONE 'UTC'));
            made := made + 1;
        END LOOP;
    END LOOP;
    RETURN made;
END $$;

-- How many whole days from now partitions of all of them exist without a gap.
CREATE FUNCTION partition_days_ahead() RETURNS integer
LANGUAGE sql STABLE AS $$
    SELECT coalesce(min(n) - 1, 60)::integer
    FROM generate_series(0, 60) AS n
    WHERE EXISTS (SELECT 1 FROM unnest(partitioned_tables()) AS t (name)
                  WHERE to_regclass(t.name || '_' || to_char((now() AT TIME ZONE 'UTC')::date + n, 'YYYYMMDD')) IS NULL)
$$;

-- The least id of the runs of a workflow that its own retention (days, or null) still shows. Those below it that have ended
-- are hidden at once and removed in batches.
CREATE FUNCTION shown_from(keep_days integer) RETURNS uuid
LANGUAGE sql STABLE PARALLEL SAFE
RETURN coalesce(uuid7_floor(now() - make_interval(days => keep_days)), '00000000-0000-0000-0000-000000000000'::uuid);

-- The days before the last `keep_days` that still have partitions, oldest first.
CREATE FUNCTION expired_days(keep_days integer) RETURNS SETOF date
LANGUAGE sql STABLE AS $$
    SELECT DISTINCT to_date(right(c.relname, 8), 'YYYYMMDD') AS day
    FROM unnest(partitioned_tables()) AS t (name)
    JOIN pg_inherits i ON i.inhparent = t.name::regclass
    JOIN pg_class c ON c.oid = i.inhrelid
    WHERE c.relname < t.name || '_' || to_char((now() AT TIME ZONE 'UTC')::date - keep_days, 'YYYYMMDD')
    ORDER BY day
$$;

-- The runs of a day that outlive its retention: the open ones, and children whose end a step has still to take up. Once
-- the day was rewritten it holds little else, and then those too that ended within a day: so whoever waits for such a run
-- learns how it ended. Null if there is nothing to remove.
CREATE FUNCTION kept_runs(day date) RETURNS uuid[]
LANGUAGE plpgsql
-- open_steps is a queue, and a day's partition is large: neither is to be read whole because of stale statistics.
SET enable_seqscan = off
AS $$
DECLARE
    low constant uuid := uuid7_floor(day::timestamp AT TIME ZONE 'UTC');
    high constant uuid := uuid7_floor((day + 1)::timestamp AT TIME ZONE 'UTC');
    child constant text := to_char(day, '"runs_"YYYYMMDD');
    kept uuid[];
    present bigint;
BEGIN
    IF obj_description(to_regclass(child), 'pg_class') = 'rewritten' THEN
        EXECUTE format('SELECT coalesce(array_agg(r.id) FILTER (WHERE r.completed_at IS NULL'
                       ' OR r.completed_at > now() - interval ''1 day'''
                       ' OR r.parent_waits AND EXISTS (SELECT FROM open_steps s WHERE s.run_id = r.parent_run_id'
                       ' AND s.child_run_id = r.id)), ''{}''), count(*) FROM %I r', child)
        INTO kept, present;
        RETURN CASE WHEN present = 0 OR present > cardinality(kept) THEN kept END;
    END IF;
    SELECT coalesce(array_agg(DISTINCT r.id), '{}') INTO kept FROM (
        SELECT run_id FROM open_steps WHERE run_id >= low AND run_id < high
        UNION ALL
        SELECT child_run_id FROM open_steps WHERE child_run_id >= low AND child_run_id < high) AS r (id);
    RETURN kept;
END $$;

-- Drops the partitions of a day, or rewrites them with the runs alone that outlive it. Gives `dropped`, `rewritten`,
-- `nothing` (all of it stays, or it is gone), or `busy`: try again later, all is as it was.
--
-- What is kept is copied before anything is locked. Then the tables are locked, so that nobody is between two statements
-- about a kept run; the rows that can have changed meanwhile are copied (steps are written once, so of these only new
-- ones), and old and new partitions change places. A CHECK spares ATTACH the reading of what it attaches. Whoever waits for
-- a row of these tables waits for at most three lock time-outs and the swap: who gets no lock in time gives way.
--
-- What waited for the lock must look with a snapshot made after it: one made before sees neither the old partition nor the
-- rows of the new one. Postgres locks first and then makes the snapshot, for a statement and for each statement of a
-- VOLATILE function; so no function that reads these tables is STABLE.
CREATE FUNCTION expire_day(day date) RETURNS text
LANGUAGE plpgsql
SET lock_timeout = '100ms'
SET enable_seqscan = off
AS $$
DECLARE
    low constant uuid := uuid7_floor(day::timestamp AT TIME ZONE 'UTC');
    high constant uuid := uuid7_floor((day + 1)::timestamp AT TIME ZONE 'UTC');
    suffix constant text := to_char(day, '"_"YYYYMMDD');
    copy constant text := 'INSERT INTO %1$I SELECT o.* FROM unnest($1) AS k (id) CROSS JOIN LATERAL ('
        'SELECT * FROM %2$I WHERE %3$I = k.id AND %3$I >= %4$L AND %3$I < %5$L OFFSET 0) AS o ON CONFLICT DO NOTHING';
    parents text[];
    kept uuid[];
    parent text;
    child text;
    fresh text;
    key text;
BEGIN
    IF NOT pg_try_advisory_xact_lock(hashtext('edgewise.partitions')) THEN
        RETURN 'busy';
    END IF;
    parents := ARRAY(SELECT name FROM unnest(partitioned_tables()) WITH ORDINALITY AS t (name, place)
                     WHERE to_regclass(name || suffix) IS NOT NULL ORDER BY place);
    kept := kept_runs(day);
    IF kept IS NULL OR cardinality(parents) = 0 THEN
        RETURN 'nothing';
    END IF;
    IF cardinality(kept) > 0 THEN
        FOREACH parent IN ARRAY parents LOOP
            fresh := parent || suffix || '_kept';
            key := CASE parent WHEN 'runs' THEN 'id' ELSE 'run_id' END;
            EXECUTE format('CREATE TABLE %I (LIKE %I INCLUDING DEFAULTS INCLUDING CONSTRAINTS INCLUDING INDEXES'
                           ' INCLUDING STORAGE, CONSTRAINT of_the_day CHECK (%I >= %L AND %I < %L))',
                           fresh, parent, key, low, key, high);
            IF parent = 'steps' THEN
                EXECUTE format(copy, fresh, parent, key, low, high) USING kept;
            END IF;
        END LOOP;
    END IF;
    FOREACH parent IN ARRAY parents LOOP
        EXECUTE format('LOCK TABLE ONLY %I IN ACCESS EXCLUSIVE MODE', parent);
    END LOOP;
    FOREACH parent IN ARRAY parents LOOP
        child := parent || suffix;
        fresh := child || '_kept';
        key := CASE parent WHEN 'runs' THEN 'id' ELSE 'run_id' END;
        IF cardinality(kept) > 0 THEN
            EXECUTE format(copy, fresh, parent, key, low, high) USING kept;
        END IF;
        EXECUTE format('DROP TABLE %I', child);
        IF cardinality(kept) > 0 THEN
            EXECUTE format('ALTER TABLE %I RENAME TO %I', fresh, child);
            EXECUTE format('ALTER TABLE %I ATTACH PARTITION %I FOR VALUES FROM (%L) TO (%L)', parent, child, low, high);
            EXECUTE format('ALTER TABLE %I DROP CONSTRAINT of_the_day', child);
            EXECUTE format('COMMENT ON TABLE %I IS ''rewritten''', child);
        END IF;
    END LOOP;
    RETURN CASE WHEN cardinality(kept) > 0 THEN 'rewritten' ELSE 'dropped' END;
EXCEPTION
    WHEN lock_not_available OR deadlock_detected THEN
        RETURN 'busy';
END $$;

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
SET enable_seqscan = off
AS $$
DECLARE
    active boolean := is_active OR EXISTS (
        SELECT 1 FROM open_steps
        WHERE run_id = run AND (status <> 'waiting' OR waits = 'retry' OR waits IS NULL AND claim_first));
    asked boolean := NOT active AND EXISTS (
        SELECT 1 FROM open_steps
        WHERE run_id = run AND CASE status WHEN 'waiting' THEN waits IN ('callback', 'person') END);
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
SET enable_seqscan = off
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
        WHERE run_id = run AND node_id = iterator AND item = parent AND CASE status WHEN 'waiting' THEN true END
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
SET enable_seqscan = off
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
          AND CASE status WHEN 'waiting' THEN child_run_id = run END
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

-- A step calls a workflow: the run starts, in the transaction in which the step begins to wait for it. A step that does not
-- wait, or whose call is refused, goes on at once; `wake` says then why there is no run. The caller's row is locked.
CREATE FUNCTION start_child(
    caller uuid, caller_node text, caller_item text, child uuid, callee uuid, payload text, waited boolean
) RETURNS SETOF opened_step
LANGUAGE plpgsql
SET plan_cache_mode = force_generic_plan
SET enable_seqscan = off
AS $$
#variable_conflict use_column
DECLARE
    above record;
    target workflows%ROWTYPE;
    refusal text;
    made opened_step;
BEGIN
    SELECT r.workspace_id, r.depth INTO above FROM runs r WHERE r.id = caller;
    SELECT w.* INTO target FROM workflows w
    WHERE w.id = callee AND w.workspace_id = above.workspace_id AND w.deleted_at IS NULL;
    refusal := CASE WHEN target.id IS NULL THEN 'gone'
                    WHEN NOT target.is_active THEN 'inactive'
                    WHEN target.trigger_component <> 'workflow_trigger' THEN 'not_callable'
                    WHEN above.depth >= 10 THEN 'too_deep' END;
    IF refusal IS NULL THEN
        made := ROW(child, target.trigger_node, '-', target.priority);
        INSERT INTO runs (id, workspace_id, workflow_id, version, priority, trigger_type, trigger_payload, open_steps,
                          parent_run_id, parent_node_id, parent_item, parent_waits, depth, slots)
        VALUES (child, target.workspace_id, target.id, target.version, target.priority, 'workflow', payload, 1,
                caller, caller_node, caller_item, waited, above.depth + 1, CASE WHEN target.limited THEN -1 ELSE 0 END);
        INSERT INTO open_steps (run_id, node_id, workspace_id, workflow_id, priority, status, claim_first, sent_at, sends)
        VALUES (child, made.node_id, target.workspace_id, target.id, target.priority, 'ready', target.limited, now(), 1);
        RETURN NEXT made;
    END IF;
    IF refusal IS NOT NULL OR NOT waited THEN
        UPDATE open_steps
        SET status = 'ready', waits = NULL, wake = coalesce(refusal, 'child'),
            child_run_id = CASE WHEN refusal IS NULL THEN child END, sent_at = now(), sends = 1
        WHERE run_id = caller AND node_id = caller_node AND item = caller_item AND child_run_id = child
        RETURNING run_id, node_id, item, priority INTO made;
        PERFORM note_activity(caller, true);
        RETURN NEXT made;
    END IF;
END $$;

-- A step publishes an event: a run of each of these workflows starts under the id beside it, in the transaction in which the
-- step begins to wait; it goes on at once, and finds as its answer which runs these are, or why there are none (`verdict`).
-- The caller's row is locked.
CREATE FUNCTION publish_event(
    caller uuid, caller_node text, caller_item text, verdict text, ids uuid[], listeners uuid[], payload text
) RETURNS SETOF opened_step
LANGUAGE plpgsql
SET plan_cache_mode = force_generic_plan
SET enable_seqscan = off
AS $$
#variable_conflict use_column
DECLARE
    above record;
    started uuid[] := '{}';
    made opened_step;
BEGIN
    SELECT r.workspace_id, r.depth INTO above FROM runs r WHERE r.id = caller;
    verdict := CASE WHEN above.depth >= 10 THEN 'too_deep' ELSE verdict END;
    IF verdict = 'published' THEN
        FOR made IN
            WITH wanted AS (
                SELECT u.id AS run_id, w.* FROM unnest(ids, listeners) AS u (id, flow) JOIN workflows w ON w.id = u.flow
                WHERE w.workspace_id = above.workspace_id AND w.is_active AND w.deleted_at IS NULL
                  AND w.trigger_component = 'event_trigger'
            ), begun AS (
                INSERT INTO runs (id, workspace_id, workflow_id, version, priority, trigger_type, trigger_payload,
                                  open_steps, parent_run_id, parent_node_id, parent_item, depth, slots)
                SELECT run_id, workspace_id, id, version, priority, 'event', payload, 1, caller, caller_node, caller_item,
                       above.depth + 1, CASE WHEN limited THEN -1 ELSE 0 END
                FROM wanted ORDER BY run_id
            )
            INSERT INTO open_steps (run_id, node_id, workspace_id, workflow_id, priority, status, claim_first, sent_at,
                                    sends)
            SELECT run_id, trigger_node, workspace_id, id, priority, 'ready', limited, now(), 1 FROM wanted ORDER BY run_id
            RETURNING run_id, node_id, item, priority
        LOOP
            started := started || made.run_id;
            RETURN NEXT made;
        END LOOP;
    END IF;
    INSERT INTO answers (run_id, workspace_id, node_id, item, outcome, data)
    VALUES (caller, above.workspace_id, caller_node, caller_item, verdict,
            json_build_object('run_ids', ARRAY(SELECT typeid('fl_run', u.id) FROM unnest(started) AS u (id)))::text)
    ON CONFLICT (run_id, node_id, item) DO UPDATE SET outcome = excluded.outcome, data = excluded.data;
    UPDATE open_steps SET status = 'ready', waits = NULL, wake = 'answer', sent_at = now(), sends = 1
    WHERE run_id = caller AND node_id = caller_node AND item = caller_item AND CASE status WHEN 'waiting' THEN true END
    RETURNING run_id, node_id, item, priority INTO made;
    IF FOUND THEN
        PERFORM note_activity(caller, true);
        RETURN NEXT made;
    END IF;
END $$;

-- Ends waits for a reason: timer, answer. Runs' rows are locked first, in order; with `skip` those that somebody holds are
-- left for the next time. A run that only waited counts as active again.
CREATE FUNCTION wake_steps(w_run uuid[], w_node text[], w_item text[], reason text, skip boolean) RETURNS SETOF opened_step
LANGUAGE plpgsql
SET plan_cache_mode = force_generic_plan
SET enable_seqscan = off
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
            WHERE run_id = run AND node_id = w_node[i] AND item = w_item[i] AND CASE status WHEN 'waiting' THEN true END
            RETURNING run_id, node_id, item, priority INTO made;
            IF FOUND THEN
                RETURN NEXT made;
            END IF;
        END LOOP;
        PERFORM note_activity(run, false);
    END LOOP;
END $$;

-- The slot whose turn it is: of the oldest open run that a workflow's schedule made, while later ones wait for it. What ended
-- before it is dropped. The workflow's row is locked.
CREATE FUNCTION first_scheduled(flow uuid) RETURNS timestamptz
LANGUAGE plpgsql
SET plan_cache_mode = force_generic_plan
SET enable_seqscan = off
AS $$
DECLARE
    first timestamptz;
BEGIN
    SELECT s.slot INTO first FROM scheduled_runs s
    WHERE s.workflow_id = flow AND (SELECT r.completed_at IS NULL FROM runs r WHERE r.id = s.run_id)
    ORDER BY s.slot LIMIT 1;
    DELETE FROM scheduled_runs WHERE workflow_id = flow AND slot < coalesce(first, 'infinity');
    RETURN first;
END $$;

-- A run of a limited workflow wants to begin; its first step is held under `claim`. With room it gets its slots and goes
-- on; else its workflow's policy says: it waits (`queued`), also until the oldest run under way that nobody has cancelled yet
-- is (`cancel_oldest`), or it is `skipped`. Runs with one key are always serialised, and so are those that its schedule makes
-- while `overlap` lets none begin beside another, in the order of their slots. The workflow's row is locked, so slots are
-- given out one run after the other.
CREATE FUNCTION enter_limit(run uuid, claim uuid, same text, OUT verdict text, OUT oldest uuid)
LANGUAGE plpgsql
SET plan_cache_mode = force_generic_plan
SET enable_seqscan = off
AS $$
DECLARE
    flow uuid := (SELECT workflow_id FROM runs WHERE id = run);
    rules record;
    full_up boolean;
    turn timestamptz;
    too_early boolean := false;
BEGIN
    SELECT limited, max_concurrent_runs AS most, settings::json ->> 'on_limit' AS policy,
           settings::json ->> 'overlap' IN ('queue', 'cancel_running') AS in_turn INTO rules
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
    IF rules.in_turn THEN
        turn := first_scheduled(flow);
        too_early := EXISTS (SELECT 1 FROM scheduled_runs s WHERE s.run_id = run AND s.slot > turn);
    END IF;
    full_up := full_up AND NOT too_early;
    IF too_early OR coalesce(full_up, false)
            OR EXISTS (SELECT 1 FROM concurrency_slots WHERE workflow_id = flow AND key = 'key:' || same) THEN
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
    WHERE run_id = run AND CASE status WHEN 'waiting' THEN waits = 'concurrency' END;
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
SET enable_seqscan = off
AS $$
DECLARE
    most integer;
    in_turn boolean;
    turn timestamptz;
    taken bigint;
    waiting record;
    same text;
    made opened_step;
BEGIN
    SELECT max_concurrent_runs, settings::json ->> 'overlap' IN ('queue', 'cancel_running') INTO most, in_turn
    FROM workflows WHERE id = flow FOR NO KEY UPDATE;
    IF NOT FOUND THEN
        RETURN;
    END IF;
    IF in_turn THEN
        turn := first_scheduled(flow);
    END IF;
    SELECT count(*) INTO taken FROM concurrency_slots WHERE workflow_id = flow AND key LIKE 'run:%';
    FOR waiting IN
        SELECT o.run_id, o.node_id, o.item FROM open_steps o
        WHERE o.workflow_id = flow AND o.status = 'waiting' AND o.waits = 'concurrency'
          AND NOT EXISTS (SELECT 1 FROM scheduled_runs s WHERE s.run_id = o.run_id AND s.slot > turn)
        ORDER BY o.run_id LIMIT 1000
    LOOP
        EXIT WHEN taken >= most;
        SELECT concurrency_key INTO same FROM runs WHERE id = waiting.run_id AND outcome IS NULL AND slots < 0
        FOR NO KEY UPDATE SKIP LOCKED;
        CONTINUE WHEN NOT FOUND
            OR EXISTS (SELECT 1 FROM concurrency_slots WHERE workflow_id = flow AND key = 'key:' || same);
        FOR made IN
            UPDATE open_steps SET status = 'ready', waits = NULL, sent_at = now(), sends = 1
            WHERE run_id = waiting.run_id AND CASE status WHEN 'waiting' THEN waits = 'concurrency' END
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
SET enable_seqscan = off
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
    WHERE run_id = run AND CASE status WHEN 'running' THEN true END AND item <> parent AND lies_under(item, root)
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
                SELECT ctid FROM open_steps WHERE run_id = u_run[u.i] AND CASE status WHEN 'running' THEN true END OFFSET 0) AS o
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
LANGUAGE plpgsql
SET plan_cache_mode = force_generic_plan
SET enable_seqscan = off
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

-- Takes ready steps for an incarnation, each under a fresh claim id, and reads what is needed to run them. What another
-- transaction holds is passed over: it is being taken by somebody else.
CREATE FUNCTION take_steps(r_run uuid[], r_node text[], r_item text[], r_claim uuid[], incarnation uuid)
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

-- The outputs of settled steps, for the context of a step that goes on from stored results.
CREATE FUNCTION step_outputs(r_run uuid[], r_node text[], r_item text[])
RETURNS TABLE (run_id uuid, node_id text, item text, output text)
LANGUAGE plpgsql
SET plan_cache_mode = force_generic_plan
SET enable_seqscan = off
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
LANGUAGE plpgsql
SET plan_cache_mode = force_generic_plan
SET enable_seqscan = off
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
SET enable_seqscan = off
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

-- Expressions here are tiny and batches small: compiling them costs more than it saves.
DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET jit = off', current_database()); END $$;

-- A cached plan outlives the statistics it was made with: one made while a table, or tomorrow's partition, was known to be
-- empty reads it whole once it is full, for every look-up. Where there is an index it is taken, whatever statistics say.
DO $$ BEGIN
    EXECUTE format('ALTER DATABASE %I SET enable_seqscan = off', current_database());
END $$;

-- Payloads and outputs are compressed with lz4 where the server was built with it, and else kept as they are: pglz takes 10
-- to 25 microseconds a KB, and writing a KB 4 (docs/decisions.md has the figures, those of disk space too).
DO $$ BEGIN
    IF (SELECT 'lz4' = ANY (enumvals) FROM pg_settings WHERE name = 'default_toast_compression') THEN
        EXECUTE format('ALTER DATABASE %I SET default_toast_compression = lz4', current_database());
    ELSE
        ALTER TABLE runs ALTER trigger_payload SET STORAGE EXTERNAL, ALTER output SET STORAGE EXTERNAL;
        ALTER TABLE steps ALTER output SET STORAGE EXTERNAL, ALTER input SET STORAGE EXTERNAL;
        ALTER TABLE items ALTER value SET STORAGE EXTERNAL;
    END IF;
END $$;
