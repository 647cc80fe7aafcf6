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
    ADD COLUMN idle_seconds float8 NOT NULL DEFAULT 0;

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
