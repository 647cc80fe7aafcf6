-- name: named
-- The items of a workspace with these names, for whoever needs their values; whether one has expired is by Postgres's clock.
SELECT id, name, secret, expires_at <= now() IS TRUE AS expired FROM vault_items
WHERE workspace_id = $1 AND name = ANY ($2::text[]) AND secret IS NOT NULL ORDER BY name;

-- name: list
-- Items of a workspace, newest first: those older than $2, at most $3; without their values.
SELECT id, workspace_id, name, created_at, expires_at, updated_at, key_hash IS NOT NULL AS is_key, ARRAY(
           SELECT u.workflow_id FROM vault_uses u WHERE u.workspace_id = v.workspace_id AND u.name = v.name
             AND (SELECT w.deleted_at IS NULL FROM workflows w WHERE w.id = u.workflow_id) ORDER BY u.workflow_id) AS used_by
FROM vault_items v WHERE workspace_id = $1 AND ($2::uuid IS NULL OR id < $2) ORDER BY id DESC LIMIT $3;

-- name: get
-- One item, without its value.
SELECT id, workspace_id, name, created_at, expires_at, updated_at, key_hash IS NOT NULL AS is_key, ARRAY(
           SELECT u.workflow_id FROM vault_uses u WHERE u.workspace_id = v.workspace_id AND u.name = v.name
             AND (SELECT w.deleted_at IS NULL FROM workflows w WHERE w.id = u.workflow_id) ORDER BY u.workflow_id) AS used_by
FROM vault_items v WHERE workspace_id = $1 AND id = $2;

-- name: lock
-- Locks an item against other writers, and against workflows that begin to use it.
SELECT FROM vault_items WHERE workspace_id = $1 AND id = $2 FOR UPDATE;

-- name: add
-- A new item, unless its workspace has one of this name; gives both timestamps.
INSERT INTO vault_items (id, workspace_id, name, secret, key_hash, expires_at) VALUES ($1, $2, $3, $4, $5, $6)
ON CONFLICT (workspace_id, name) DO NOTHING RETURNING created_at, updated_at;

-- name: update
-- What can change of an item; without a new value it keeps the one it has.
UPDATE vault_items
SET name = $3, expires_at = $4, secret = coalesce($5, secret),
    updated_at = greatest(clock_timestamp(), updated_at + interval '1 microsecond')
WHERE workspace_id = $1 AND id = $2;

-- name: delete
-- An item goes for good.
DELETE FROM vault_items WHERE workspace_id = $1 AND id = $2;

-- name: key
-- What an API key stands for, unless it has expired.
SELECT id, workspace_id, name, extract(epoch FROM expires_at - now())::float8 AS seconds_left FROM vault_items
WHERE key_hash = $1 AND (expires_at IS NULL OR expires_at > now());

-- name: now
-- Postgres's time: what is in the future is judged by it.
SELECT now();

-- name: existing
-- Which of these names are items of a workspace whose values can be read.
SELECT name FROM vault_items WHERE workspace_id = $1 AND name = ANY ($2::text[]) AND secret IS NOT NULL;

-- name: hold
-- The same; they are neither renamed nor deleted until the end of the transaction.
SELECT name FROM vault_items
WHERE id = ANY (ARRAY(SELECT id FROM vault_items WHERE workspace_id = $1 AND name = ANY ($2::text[])))
  AND workspace_id = $1 AND name = ANY ($2::text[]) AND secret IS NOT NULL
ORDER BY id FOR KEY SHARE;

-- name: names
-- The names of the items of a workspace whose values can be read, for those who look for one.
SELECT name FROM vault_items WHERE workspace_id = $1 AND secret IS NOT NULL ORDER BY name LIMIT 1000;

-- name: forget_uses
-- Items that a workflow's current version does not name any more.
DELETE FROM vault_uses WHERE workflow_id = $1 AND NOT name = ANY ($2::text[]);

-- name: add_uses
-- Items that a workflow's current version names.
INSERT INTO vault_uses (workspace_id, workflow_id, name) SELECT $1, $2, unnest($3::text[]) ON CONFLICT DO NOTHING;
