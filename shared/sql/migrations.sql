-- name: create_ledger
-- The list of applied migrations; one process makes it, however many start at once.
DO $$ BEGIN
    PERFORM pg_advisory_xact_lock(hashtext('edgewise.migrations'));
    CREATE TABLE IF NOT EXISTS schema_migrations (
        version integer PRIMARY KEY, name text NOT NULL, applied_at timestamptz NOT NULL DEFAULT now());
    ALTER TABLE schema_migrations ADD COLUMN IF NOT EXISTS digest text NOT NULL DEFAULT '';
END $$;

-- name: lock
-- One process migrates at a time; held until the end of the transaction.
SELECT pg_advisory_xact_lock(hashtext('edgewise.migrations'));

-- name: applied_digest
-- The digest of the file that a migration was applied from; no row if it has not been applied.
SELECT digest FROM schema_migrations WHERE version = $1;

-- name: ledger
-- What has been applied, and the digests of the files.
SELECT version, digest FROM schema_migrations;

-- name: record
-- Notes a migration as applied.
INSERT INTO schema_migrations (version, name, digest) VALUES ($1, $2, $3);

-- name: make_partitions
-- Makes the daily partitions from $1 days back to $2 days ahead.
SELECT make_partitions($1, $2);

-- name: partition_days_ahead
-- How many days ahead partitions exist without a gap.
SELECT partition_days_ahead();
