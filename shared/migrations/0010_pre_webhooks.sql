-- What webhooks ask of requests, tokens that were rotated and still work, and the requests that started no run.

-- Of the version, so that code before this, which knows no such settings, saves versions without them.
ALTER TABLE workflow_versions ADD COLUMN webhook text;

ALTER TABLE workflows ADD COLUMN previous_token_hash bytea CHECK (length(previous_token_hash) = 32);
ALTER TABLE workflows ADD COLUMN previous_token_until timestamptz;
ALTER TABLE workflows ADD CONSTRAINT workflows_previous_token
    CHECK ((previous_token_hash IS NULL) = (previous_token_until IS NULL));
CREATE UNIQUE INDEX workflows_by_previous_token ON workflows (previous_token_hash) WHERE previous_token_hash IS NOT NULL;

CREATE TABLE deliveries (
    id            uuid PRIMARY KEY,
    workspace_id  uuid NOT NULL,
    workflow_id   uuid NOT NULL,
    run_id        uuid,
    status        smallint NOT NULL,
    outcome       text NOT NULL,
    code          text,
    request       text,
    whole         boolean NOT NULL
);
CREATE INDEX deliveries_by_workflow ON deliveries (workflow_id, id);

CREATE TABLE delivery_replays (
    id            uuid PRIMARY KEY,
    workspace_id  uuid NOT NULL,
    workflow_id   uuid NOT NULL,
    filter        text NOT NULL,
    above         uuid NOT NULL,
    below         uuid NOT NULL,
    per_second    integer NOT NULL CHECK (per_second BETWEEN 1 AND 100),
    next_at       timestamptz NOT NULL DEFAULT now(),
    matched       integer NOT NULL DEFAULT 0,
    done          integer NOT NULL DEFAULT 0,
    failed        integer NOT NULL DEFAULT 0,
    created_by    text NOT NULL,
    created_at    timestamptz NOT NULL DEFAULT now(),
    completed_at  timestamptz
);
CREATE INDEX delivery_replays_open ON delivery_replays (next_at) WHERE completed_at IS NULL;
