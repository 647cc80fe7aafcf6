-- API keys are vault items of which only a hash is kept; what workflows use of the vault; what runs have used of it.

ALTER TABLE vault_items ALTER COLUMN secret DROP NOT NULL;
ALTER TABLE vault_items ADD COLUMN key_hash bytea CHECK (length(key_hash) = 32);
ALTER TABLE vault_items ADD CHECK ((secret IS NULL) <> (key_hash IS NULL));
CREATE UNIQUE INDEX vault_items_by_key ON vault_items (key_hash) WHERE key_hash IS NOT NULL;

-- Which vault items the current version of a workflow names.
CREATE TABLE vault_uses (
    workspace_id  uuid NOT NULL,
    workflow_id   uuid NOT NULL REFERENCES workflows ON DELETE CASCADE,
    name          text NOT NULL,
    PRIMARY KEY (workflow_id, name)
);
CREATE INDEX vault_uses_by_name ON vault_uses (workspace_id, name);

-- The secrets that runs under way have used, written before the step begins that uses one: whoever records something of
-- such a run blanks them, whatever became of the vault item meanwhile.
CREATE TABLE run_secrets (
    run_id        uuid NOT NULL,
    workspace_id  uuid NOT NULL,
    digest        bytea NOT NULL CHECK (length(digest) = 32),
    secret        bytea NOT NULL,
    PRIMARY KEY (run_id, digest)
) WITH (autovacuum_vacuum_scale_factor = 0.0, autovacuum_vacuum_threshold = 5000);
