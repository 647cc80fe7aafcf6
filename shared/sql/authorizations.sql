-- name: exists
-- Whether a workspace has this authorization.
SELECT EXISTS (SELECT FROM authorizations WHERE id = $1 AND workspace_id = $2);

-- name: hold
-- The same, and it stays until the end of the transaction.
SELECT id FROM authorizations WHERE id = $1 AND workspace_id = $2 FOR KEY SHARE;

-- name: add
-- A new authorization.
INSERT INTO authorizations (id, workspace_id, name, kind, provider, user_id, status, config)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
RETURNING created_at;

-- name: list
-- Authorizations of a workspace with the workflows that use them, newest first: those older than $2, at most $3.
SELECT a.id, a.name, a.kind, a.provider, a.user_id, a.status, a.created_at,
       ARRAY(SELECT w.id FROM (SELECT id FROM workflows WHERE authorization_id = a.id AND deleted_at IS NULL OFFSET 0) AS w
             ORDER BY w.id) AS used_by
FROM authorizations a
WHERE a.workspace_id = $1 AND ($2::uuid IS NULL OR a.id < $2)
ORDER BY a.id DESC LIMIT $3;

-- name: lock
-- An authorization, locked against everybody: no workflow begins to use it before the transaction ends.
SELECT a.id, a.name, a.kind, a.provider, a.user_id, a.status, a.created_at,
       ARRAY(SELECT w.id FROM (SELECT id FROM workflows WHERE authorization_id = a.id AND deleted_at IS NULL OFFSET 0) AS w
             ORDER BY w.id) AS used_by
FROM authorizations a WHERE a.id = $1 AND a.workspace_id = $2
FOR UPDATE OF a;

-- name: remove
-- Delete an authorization with its tokens.
DELETE FROM authorizations WHERE id = $1;

-- name: look
-- What a call must know: the configuration and the token, whether that is due to be renewed, and what stands against it.
SELECT kind, status, config, token, generation, coalesce(refresh_at <= now(), false) AS due,
       coalesce(retry_at <= now(), false) AS may_retry, revoked_because
FROM authorizations WHERE id = $1 AND workspace_id = $2;

-- name: lease
-- Become the one who renews the token of this generation; tells whether somebody else began to and never ended.
WITH before AS (SELECT refresh_id IS NOT NULL AS cut_off FROM authorizations WHERE id = $1)
UPDATE authorizations SET refresh_id = $3, refresh_until = now() + make_interval(secs => $4)
WHERE id = $1 AND generation = $2 AND (refresh_id IS NULL OR refresh_until <= now())
  AND (status <> 'revoked' OR retry_at <= now())
RETURNING (SELECT cut_off FROM before) AS cut_off;

-- name: release
-- Give the lease back without a token.
UPDATE authorizations SET refresh_id = NULL, refresh_until = NULL WHERE id = $1 AND refresh_id = $2;

-- name: store
-- Keep the token that follows this generation; due in $4 seconds, null if it cannot be told. What an API refused while the
-- token was on its way stays revoked until it may be tried again: else renewals and refusals could chase each other.
UPDATE authorizations
SET token = $3, generation = generation + 1, refresh_at = now() + make_interval(secs => $4::float8),
    status = CASE WHEN retry_at > now() THEN status ELSE 'active' END,
    revoked_because = CASE WHEN retry_at > now() THEN revoked_because END,
    retry_at = CASE WHEN retry_at > now() THEN retry_at END,
    refresh_id = NULL, refresh_until = NULL
WHERE id = $1 AND generation = $2
RETURNING generation;

-- name: revoke
-- What this generation leads to is refused; it may be tried again in $4 seconds, null: not before a new consent.
UPDATE authorizations
SET status = 'revoked', revoked_because = $3, retry_at = now() + make_interval(secs => $4::float8), refresh_id = NULL,
    refresh_until = NULL
WHERE id = $1 AND generation = $2;

-- name: retry
-- Try the token of a revoked authorization again, now that it may be.
UPDATE authorizations SET status = 'active', revoked_because = NULL, retry_at = NULL
WHERE id = $1 AND generation = $2 AND status = 'revoked' AND retry_at <= now();

-- name: consent
-- Keep the token of a consent; it stands above whatever was before, a renewal that is under way included.
UPDATE authorizations
SET token = $2, generation = generation + 1, refresh_at = now() + make_interval(secs => $3::float8), status = 'active',
    revoked_because = NULL, retry_at = NULL, refresh_id = NULL, refresh_until = NULL
WHERE id = $1
RETURNING id;

-- name: begin_login
-- Ask for a consent, which must come within $5 seconds.
INSERT INTO authorization_logins (state_hash, workspace_id, authorization_id, verifier, expires_at)
VALUES ($1, $2, $3, $4, now() + make_interval(secs => $5));

-- name: take_login
-- The consent that is asked for by this state, once and in time.
WITH taken AS (DELETE FROM authorization_logins WHERE state_hash = $1
               RETURNING workspace_id, authorization_id, verifier, expires_at)
SELECT t.workspace_id, t.authorization_id, t.verifier, a.config, a.user_id, t.expires_at
FROM taken t CROSS JOIN LATERAL (SELECT config, user_id FROM authorizations WHERE id = t.authorization_id OFFSET 0) AS a
WHERE t.expires_at > now();

-- name: return_login
-- A consent that was taken and came to nothing is asked for again, for the time that it had left.
INSERT INTO authorization_logins (state_hash, workspace_id, authorization_id, verifier, expires_at)
SELECT $1::bytea, a.workspace_id, a.id, $3::bytea, $4::timestamptz FROM authorizations a WHERE a.id = $2
FOR KEY SHARE
ON CONFLICT DO NOTHING;

-- name: forget_logins
-- Remove consents that nobody gave in time, a few at once.
DELETE FROM authorization_logins WHERE ctid = ANY (ARRAY(
    SELECT ctid FROM authorization_logins WHERE expires_at <= now() ORDER BY expires_at LIMIT 100
    FOR UPDATE SKIP LOCKED));
