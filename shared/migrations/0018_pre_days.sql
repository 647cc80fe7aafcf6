-- Makes their daily partitions from `back` days ago to `ahead` days from now; returns how many it made.
-- ATTACH takes a lighter lock than CREATE ... PARTITION OF, so it does not stop the traffic.
-- Of two indexes that cost the same the planner takes the younger one, and in a table known to be empty all cost the same. So
-- ATTACH makes the primary key last: otherwise plans that were made for an empty day would look runs up by their id in the
-- index by workflow, all of which they go through.
CREATE OR REPLACE FUNCTION make_partitions(back integer, ahead integer) RETURNS integer
LANGUAGE plpgsql AS $$
DECLARE
    day date;
    parent text;
    child text;
    made integer := 0;
    today date := (now() AT TIME ZONE 'UTC')::date;
BEGIN
    PERFORM pg_advisory_xact_lock(hashtext('edgewise.partitions'));
    FOR day IN SELECT generate_series(today - back, today + ahead, interval '1 day')::date LOOP
        FOREACH parent IN ARRAY partitioned_tables() LOOP
            child := parent || '_' || to_char(day, 'YYYYMMDD');
            CONTINUE WHEN to_regclass(child) IS NOT NULL;
            EXECUTE format('CREATE TABLE %I (LIKE %I INCLUDING DEFAULTS INCLUDING CONSTRAINTS INCLUDING STORAGE) WITH (%s)',
                           child, parent, storage_of(parent));
            IF parent = 'runs' THEN
                EXECUTE format('CREATE INDEX ON %I (workflow_id, id)', child);
            END IF;
            EXECUTE format('ALTER TABLE %I ATTACH PARTITION %I FOR VALUES FROM (%L) TO (%L)', parent, child,
                           uuid7_floor(day::timestamp AT TIME ZONE 'UTC'),
                           uuid7_floor((day + 1)::timestamp AT TIME ZONE 'UTC'));
            made := made + 1;
        END LOOP;
    END LOOP;
    RETURN made;
END $$;

-- The days that nothing is in yet are made anew.
DO $$
DECLARE
    child text;
    is_used boolean;
BEGIN
    PERFORM pg_advisory_xact_lock(hashtext('edgewise.partitions'));
    LOCK TABLE ONLY runs IN ACCESS EXCLUSIVE MODE;
    FOR child IN SELECT c.relname FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid WHERE i.inhparent = 'runs'::regclass LOOP
        EXECUTE format('SELECT EXISTS (SELECT FROM %I)', child) INTO is_used;
        IF NOT is_used THEN
            EXECUTE format('DROP TABLE %I', child);
        END IF;
    END LOOP;
    PERFORM make_partitions(2, 14);
END $$;
