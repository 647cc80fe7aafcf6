-- name: register
-- A worker process starts.
INSERT INTO incarnations (id, host, pid) VALUES ($1, $2, $3);

-- name: beat
-- Extends the lease by Postgres's own clock; no row means that this incarnation was declared dead, which is final.
UPDATE incarnations SET heartbeat_at = clock_timestamp() WHERE id = $1 AND dead_at IS NULL RETURNING true;

-- name: held
-- What the database says this incarnation holds.
SELECT claim_id, stop FROM open_steps WHERE incarnation_id = $1 AND status = 'running';

-- name: retire
-- The worker ends in good order: nobody has to wait for its lease.
UPDATE incarnations SET dead_at = clock_timestamp() WHERE id = $1 AND dead_at IS NULL;
