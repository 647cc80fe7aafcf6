-- Payloads and outputs are no longer compressed with pglz, which takes 10 to 25 microseconds a KB; lz4 stays where
-- the server has it. What is stored already stays as it is, and is read as before.

DO $$ BEGIN
    IF (SELECT 'lz4' <> ALL (enumvals) FROM pg_settings WHERE name = 'default_toast_compression') THEN
        ALTER TABLE runs ALTER trigger_payload SET STORAGE EXTERNAL, ALTER output SET STORAGE EXTERNAL;
        ALTER TABLE steps ALTER output SET STORAGE EXTERNAL, ALTER input SET STORAGE EXTERNAL;
        ALTER TABLE items ALTER value SET STORAGE EXTERNAL;
    END IF;
END $$;

-- Partitions take the storage of their columns from the table.
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
            EXECUTE format('ALTER TABLE %I ATTACH PARTITION %I FOR VALUES FROM (%L) TO (%L)', parent, child,
                           uuid7_floor(day::timestamp AT TIME ZONE 'UTC'),
                           uuid7_floor((day + 1)::timestamp AT TIME ZONE 'UTC'));
            made := made + 1;
        END LOOP;
    END LOOP;
    RETURN made;
END $$;

CREATE OR REPLACE FUNCTION expire_day(day date) RETURNS text
LANGUAGE plpgsql
SET lock_timeout = '100ms'
SET enable_seqscan = off
AS $$
DECLARE
    low constant uuid := uuid7_floor(day::timestamp AT TIME ZONE 'UTC');
    high constant uuid := uuid7_floor((day + 1)::timestamp AT TIME ZONE 'UTC');
    suffix constant text := to_char(day, '"_"YYYYMMDD');
    copy constant text := 'INSERT INTO %1$I SELECT o.* FROM unnest($1) AS k (id) CROSS JOIN LATERAL ('
        'SELECT * FROM %2$I WHERE %3$I = k.id AND %3$I >= %4$L AND %3$I < %5$L OFFSET 0) AS o ON CONFLICT DO NOTHING';
    parents text[];
    kept uuid[];
    parent text;
    child text;
    fresh text;
    key text;
BEGIN
    IF NOT pg_try_advisory_xact_lock(hashtext('edgewise.partitions')) THEN
        RETURN 'busy';
    END IF;
    parents := ARRAY(SELECT name FROM unnest(partitioned_tables()) WITH ORDINALITY AS t (name, place)
                     WHERE to_regclass(name || suffix) IS NOT NULL ORDER BY place);
    kept := kept_runs(day);
    IF kept IS NULL OR cardinality(parents) = 0 THEN
        RETURN 'nothing';
    END IF;
    IF cardinality(kept) > 0 THEN
        FOREACH parent IN ARRAY parents LOOP
            fresh := parent || suffix || '_kept';
            key := CASE parent WHEN 'runs' THEN 'id' ELSE 'run_id' END;
            EXECUTE format('CREATE TABLE %I (LIKE %I INCLUDING DEFAULTS INCLUDING CONSTRAINTS INCLUDING INDEXES'
                           ' INCLUDING STORAGE, CONSTRAINT of_the_day CHECK (%I >= %L AND %I < %L))',
                           fresh, parent, key, low, key, high);
            IF parent = 'steps' THEN
                EXECUTE format(copy, fresh, parent, key, low, high) USING kept;
            END IF;
        END LOOP;
    END IF;
    FOREACH parent IN ARRAY parents LOOP
        EXECUTE format('LOCK TABLE ONLY %I IN ACCESS EXCLUSIVE MODE', parent);
    END LOOP;
    FOREACH parent IN ARRAY parents LOOP
        child := parent || suffix;
        fresh := child || '_kept';
        key := CASE parent WHEN 'runs' THEN 'id' ELSE 'run_id' END;
        IF cardinality(kept) > 0 THEN
            EXECUTE format(copy, fresh, parent, key, low, high) USING kept;
        END IF;
        EXECUTE format('DROP TABLE %I', child);
        IF cardinality(kept) > 0 THEN
            EXECUTE format('ALTER TABLE %I RENAME TO %I', fresh, child);
            EXECUTE format('ALTER TABLE %I ATTACH PARTITION %I FOR VALUES FROM (%L) TO (%L)', parent, child, low, high);
            EXECUTE format('ALTER TABLE %I DROP CONSTRAINT of_the_day', child);
            EXECUTE format('COMMENT ON TABLE %I IS ''rewritten''', child);
        END IF;
    END LOOP;
    RETURN CASE WHEN cardinality(kept) > 0 THEN 'rewritten' ELSE 'dropped' END;
EXCEPTION
    WHEN lock_not_available OR deadlock_detected THEN
        RETURN 'busy';
END $$;
