-- name: find_vault_items
-- Values under another key than the newest, behind $2.
SELECT id, secret AS blob FROM vault_items
WHERE secret IS NOT NULL AND substring(secret FROM 1 FOR length($1::bytea)) <> $1 AND id > $2
ORDER BY id LIMIT $3 FOR NO KEY UPDATE;

-- name: keep_vault_items
-- The same values under the newest key.
UPDATE vault_items v SET secret = u.blob FROM unnest($1::uuid[], $2::bytea[]) AS u (id, blob) WHERE v.id = ANY (ARRAY[u.id]);

-- name: find_webhook_tokens
-- Tokens under another key than the newest, behind $2.
SELECT id, webhook_token AS blob FROM workflows
WHERE webhook_token IS NOT NULL AND substring(webhook_token FROM 1 FOR length($1::bytea)) <> $1 AND id > $2
ORDER BY id LIMIT $3 FOR NO KEY UPDATE;

-- name: keep_webhook_tokens
-- The same tokens under the newest key.
UPDATE workflows w SET webhook_token = u.blob FROM unnest($1::uuid[], $2::bytea[]) AS u (id, blob) WHERE w.id = ANY (ARRAY[u.id]);

-- name: find_authorization_configs
-- Configurations under another key than the newest, behind $2.
SELECT id, config AS blob FROM authorizations
WHERE config IS NOT NULL AND substring(config FROM 1 FOR length($1::bytea)) <> $1 AND id > $2
ORDER BY id LIMIT $3 FOR NO KEY UPDATE;

-- name: keep_authorization_configs
-- The same configurations under the newest key.
UPDATE authorizations a SET config = u.blob FROM unnest($1::uuid[], $2::bytea[]) AS u (id, blob) WHERE a.id = ANY (ARRAY[u.id]);

-- name: find_authorization_tokens
-- Tokens under another key than the newest, behind $2.
SELECT id, token AS blob FROM authorizations
WHERE token IS NOT NULL AND substring(token FROM 1 FOR length($1::bytea)) <> $1 AND id > $2
ORDER BY id LIMIT $3 FOR NO KEY UPDATE;

-- name: keep_authorization_tokens
-- The same tokens under the newest key.
UPDATE authorizations a SET token = u.blob FROM unnest($1::uuid[], $2::bytea[]) AS u (id, blob) WHERE a.id = ANY (ARRAY[u.id]);

-- name: find_login_verifiers
-- Verifiers under another key than the newest, behind $2.
SELECT state_hash, authorization_id, verifier AS blob FROM authorization_logins
WHERE substring(verifier FROM 1 FOR length($1::bytea)) <> $1 AND state_hash > $2
ORDER BY state_hash LIMIT $3 FOR NO KEY UPDATE;

-- name: keep_login_verifiers
-- The same verifiers under the newest key.
UPDATE authorization_logins l SET verifier = u.blob FROM unnest($1::bytea[], $2::bytea[]) AS u (state_hash, blob)
WHERE l.state_hash = ANY (ARRAY[u.state_hash]);

-- name: find_run_secrets
-- Secrets of runs under another key than the newest, behind $2 and $3.
SELECT run_id, digest, secret AS blob FROM run_secrets
WHERE substring(secret FROM 1 FOR length($1::bytea)) <> $1 AND (run_id, digest) > ($2, $3)
ORDER BY run_id, digest LIMIT $4 FOR NO KEY UPDATE;

-- name: keep_run_secrets
-- The same secrets under the newest key.
UPDATE run_secrets s SET secret = u.blob FROM unnest($1::uuid[], $2::bytea[], $3::bytea[]) AS u (run_id, digest, blob)
WHERE s.run_id = ANY (ARRAY[u.run_id]) AND s.digest = u.digest;

-- name: find_answers
-- Kept answers that hold a secret, under another key than the newest, behind $2 to $5.
SELECT workspace_id, method, route, key, body AS blob FROM idempotency
WHERE secret AND substring(body FROM 1 FOR length($1::bytea)) <> $1 AND (workspace_id, method, route, key) > ($2, $3, $4, $5)
ORDER BY workspace_id, method, route, key LIMIT $6 FOR NO KEY UPDATE;

-- name: keep_answers
-- The same answers under the newest key.
UPDATE idempotency i SET body = u.blob
FROM unnest($1::uuid[], $2::text[], $3::text[], $4::text[], $5::bytea[]) AS u (workspace_id, method, route, key, blob)
WHERE i.workspace_id = ANY (ARRAY[u.workspace_id]) AND (i.method, i.route, i.key) = (u.method, u.route, u.key);
