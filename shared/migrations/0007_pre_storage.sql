-- Storage: fewer index entries and bytes of log for what is written most.

-- The rows of schedules have no token, and were in its index all the same, once for each slot that moved them. The new
-- index is there before the old one goes, so tokens stay unique.
CREATE UNIQUE INDEX workflows_by_token ON workflows (webhook_token_hash) WHERE webhook_token_hash IS NOT NULL;
ALTER TABLE workflows DROP CONSTRAINT workflows_webhook_token_hash_key;
ALTER TABLE workflows SET (fillfactor = 80);

-- The storage parameters of a partition. A run's row is inserted once and updated at least once, by a batch that updates its
-- neighbours, too: room for a second version of every row on a page makes all of these updates HOT. Items are updated
-- twice. Steps are only ever inserted: vacuumed in portions, and frozen at once, they are never read for that again.
CREATE FUNCTION storage_of(parent text) RETURNS text
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN CASE parent
    WHEN 'runs' THEN 'fillfactor = 45, autovacuum_freeze_min_age = 0'
    WHEN 'items' THEN 'fillfactor = 50, autovacuum_freeze_min_age = 0'
    ELSE 'fillfactor = 100, autovacuum_freeze_min_age = 0, autovacuum_vacuum_insert_scale_factor = 0.0,'
         ' autovacuum_vacuum_insert_threshold = 100000'
END;

-- The partitions that there are; pages that are full already stay as they are.
DO $$
DECLARE
    parent text;
    child text;
BEGIN
    FOR parent, child IN
        SELECT t.name, c.relname FROM unnest(partitioned_tables()) AS t (name)
        JOIN pg_inherits i ON i.inhparent = t.name::regclass JOIN pg_class c ON c.oid = i.inhrelid
    LOOP
        EXECUTE format('ALTER TABLE %I SET (%s)', child, storage_of(parent));
    END LOOP;
END $$;

-- A cached plan outlives the statistics it was made with: one made while a table, or tomorrow's partition, was known to be
-- empty reads it whole once it is full, for every look-up. Where there is an index it is taken, whatever statistics say.
DO $$ BEGIN
    EXECUTE format('ALTER DATABASE %I SET enable_seqscan = off', current_database());
END $$;
