-- name: try_lock
-- Takes the key until the end of the transaction; false while another request holds it.
SELECT pg_try_advisory_xact_lock(hashtextextended('edgewise.idempotency ' || $1, 0));

-- name: find
-- The kept answer of a key, if it is younger than 24 hours.
SELECT body_hash, status, headers, body, secret FROM idempotency
WHERE workspace_id = $1 AND method = $2 AND route = $3 AND key = $4 AND created_at > now() - interval '24 hours';

-- name: keep
-- Keeps the answer of a key; one that has expired is replaced.
INSERT INTO idempotency (workspace_id, method, route, key, body_hash, status, headers, body, secret)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)
ON CONFLICT (workspace_id, method, route, key) DO UPDATE
SET body_hash = EXCLUDED.body_hash, status = EXCLUDED.status, headers = EXCLUDED.headers, body = EXCLUDED.body,
    secret = EXCLUDED.secret, created_at = now()
WHERE idempotency.created_at <= now() - interval '24 hours';
