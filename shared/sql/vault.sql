-- name: named
-- The items of a workspace with these names, for whoever needs their values; whether one has expired is by Postgres's clock.
SELECT id, name, secret, expires_at, expires_at <= now() IS TRUE AS expired FROM vault_items
WHERE workspace_id = $1 AND name = ANY ($2::text[]) ORDER BY name;
