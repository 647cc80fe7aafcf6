-- Authorizations hold tokens, are renewed by one process at a time, and belong to the version of a workflow.

ALTER TABLE authorizations
    ADD COLUMN token           bytea,
    ADD COLUMN generation      integer NOT NULL DEFAULT 0,
    ADD COLUMN refresh_at      timestamptz,
    ADD COLUMN refresh_id      uuid,
    ADD COLUMN refresh_until   timestamptz,
    ADD COLUMN revoked_because text,
    ADD COLUMN retry_at        timestamptz,
    ADD CHECK ((refresh_id IS NULL) = (refresh_until IS NULL)),
    ADD CHECK ((status = 'revoked') = (revoked_because IS NOT NULL));

CREATE TABLE authorization_logins (
    state_hash        bytea PRIMARY KEY CHECK (length(state_hash) = 32),
    workspace_id      uuid NOT NULL REFERENCES workspaces,
    authorization_id  uuid NOT NULL REFERENCES authorizations ON DELETE CASCADE,
    verifier          bytea NOT NULL,
    expires_at        timestamptz NOT NULL
);
CREATE INDEX authorization_logins_by_authorization ON authorization_logins (authorization_id);
CREATE INDEX authorization_logins_by_expiry ON authorization_logins (expires_at);

CREATE INDEX workflows_by_authorization ON workflows (authorization_id) WHERE authorization_id IS NOT NULL;

ALTER TABLE workflow_versions ADD COLUMN authorization_id uuid;
UPDATE workflow_versions v SET authorization_id = w.authorization_id
FROM workflows w WHERE w.id = v.workflow_id AND w.authorization_id IS NOT NULL;
