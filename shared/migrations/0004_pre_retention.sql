-- Retention: partitions of days that are over are dropped or rewritten, and a workflow may keep its runs for a shorter time.

ALTER TABLE workflows ADD COLUMN keep_runs_days integer CHECK (keep_runs_days >= 1);
CREATE INDEX workflows_keeping ON workflows (id) WHERE keep_runs_days IS NOT NULL;
CREATE INDEX open_steps_children ON open_steps (child_run_id) WHERE child_run_id IS NOT NULL;
CREATE INDEX dedupe_old ON dedupe (created_at);
CREATE INDEX schedule_slots_old ON schedule_slots (created_at);

-- What waits while a partition is rewritten must look with a snapshot made after it, which STABLE functions do not. Those
-- that only old code calls are among them.
DO $$
DECLARE
    reader regprocedure;
BEGIN
    FOR reader IN
        SELECT oid FROM pg_proc
        WHERE pronamespace = current_schema()::regnamespace AND provolatile = 's'
          AND proname IN ('load_steps', 'read_steps', 'step_outputs', 'item_values', 'brought_by')
    LOOP
        EXECUTE format('ALTER FUNCTION %s VOLATILE', reader);
    END LOOP;
END $$;

-- The least id of the runs of a workflow that its own retention (days, or null) still shows. Those below it that have ended
-- are hidden at once and removed in batches.
CREATE FUNCTION shown_from(keep_days integer) RETURNS uuid
LANGUAGE sql STABLE PARALLEL SAFE
RETURN coalesce(uuid7_floor(now() - make_interval(days => keep_days)), '00000000-0000-0000-0000-000000000000'::uuid);

-- The days before the last `keep_days` that still have partitions, oldest first.
CREATE FUNCTION expired_days(keep_days integer) RETURNS SETOF date
LANGUAGE sql STABLE AS $$
    SELECT DISTINCT to_date(right(c.relname, 8), 'YYYYMMDD') AS day
    FROM unnest(partitioned_tables()) AS t (name)
    JOIN pg_inherits i ON i.inhparent = t.name::regclass
    JOIN pg_class c ON c.oid = i.inhrelid
    WHERE c.relname < t.name || '_' || to_char((now() AT TIME ZONE 'UTC')::date - keep_days, 'YYYYMMDD')
    ORDER BY day
$$;

-- The runs of a day that outlive its retention: the open ones, and children whose end a step has still to take up. Once
-- the day was rewritten it holds little else, and then those too that ended within a day: so whoever waits for such a run
-- learns how it ended. Null if there is nothing to remove.
CREATE FUNCTION kept_runs(day date) RETURNS uuid[]
LANGUAGE plpgsql
-- open_steps is a queue, and a day's partition is large: neither is to be read whole because of stale statistics.
SET enable_seqscan = off
AS $$
DECLARE
    low constant uuid := uuid7_floor(day::timestamp AT TIME ZONE 'UTC');
    high constant uuid := uuid7_floor((day + 1)::timestamp AT TIME ZONE 'UTC');
    child constant text := to_char(day, '"runs_"YYYYMMDD');
    kept uuid[];
    present bigint;
BEGIN
    IF obj_description(to_regclass(child), 'pg_class') = 'rewritten' THEN
        EXECUTE format('SELECT coalesce(array_agg(r.id) FILTER (WHERE r.completed_at IS NULL'
                       ' OR r.completed_at > now() - interval ''1 day'''
                       ' OR r.parent_waits AND EXISTS (SELECT FROM open_steps s WHERE s.run_id = r.parent_run_id'
                       ' AND s.child_run_id = r.id)), ''{}''), count(*) FROM %I r', child)
        INTO kept, present;
        RETURN CASE WHEN present = 0 OR present > cardinality(kept) THEN kept END;
    END IF;
    SELECT coalesce(array_agg(DISTINCT r.id), '{}') INTO kept FROM (
        SELECT run_id FROM open_steps WHERE run_id >= low AND run_id < high
        UNION ALL
        SELECT child_run_id FROM open_steps WHERE child_run_id >= low AND child_run_id < high) AS r (id);
    RETURN kept;
END $$;

-- Drops the partitions of a day, or rewrites them with the runs alone that outlive it. Gives `dropped`, `rewritten`,
-- `nothing` (all of it stays, or it is gone), or `busy`: try again later, all is as it was.
--
-- What is kept is copied before anything is locked. Then the tables are locked, so that nobody is between two statements
-- about a kept run; the rows that can have changed meanwhile are copied (steps are written once, so of these only new
-- ones), and old and new partitions change places. A CHECK spares ATTACH the reading of what it attaches. Whoever waits for
-- a row of these tables waits for at most three lock time-outs and the swap: who gets no lock in time gives way.
--
-- What waited for the lock must look with a snapshot made after it: one made before sees neither the old partition nor the
-- rows of the new one. Postgres locks first and then makes the snapshot, for a statement and for each statement of a
-- VOLATILE function; so no function that reads these tables is STABLE.
CREATE FUNCTION expire_day(day date) RETURNS text
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
            EXECUTE format('CREATE TABLE %I (LIKE %I INCLUDING DEFAULTS INCLUDING CONSTRAINTS INCLUDING INDEXES,'
                           ' CONSTRAINT of_the_day CHECK (%I >= %L AND %I < %L))', fresh, parent, key, low, key, high);
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

-- Old code may end a run that new code is built on: a child that a step waits for, one that holds slots, one whose failure
-- starts another. And what it leaves waiting must not count as active. So what new code does at these points is done for
-- it; the messages of the steps that this makes ready are those that `resend` sends.
ALTER FUNCTION commit_advances(
    uuid[], text[], text[], uuid[], timestamptz[], text[], text[], text[], boolean[], integer[], integer[],
    integer[], boolean[], text[], text[], smallint[], integer[], text[], text[], text[], text[], text[], timestamptz[],
    integer[],
    integer[], text[], text[], text[], smallint[], uuid[], timestamptz[], boolean[], boolean[],
    integer[], text[], text[], integer[], integer[], integer[], integer[],
    uuid, boolean) RENAME TO commit_old_advances;
CREATE FUNCTION commit_advances(
    uuid[], text[], text[], uuid[], timestamptz[], text[], text[], text[], boolean[], integer[], integer[],
    integer[], boolean[], text[], text[], smallint[], integer[], text[], text[], text[], text[], text[], timestamptz[],
    integer[],
    integer[], text[], text[], text[], smallint[], uuid[], timestamptz[], boolean[], boolean[],
    integer[], text[], text[], integer[], integer[], integer[], integer[],
    uuid, boolean
) RETURNS TABLE (kind text, unit integer, run_id uuid, node_id text, item text, flag boolean, status text, seconds float8)
LANGUAGE plpgsql AS $$
#variable_conflict use_column
DECLARE
    run uuid;
BEGIN
    FOR kind, unit, run_id, node_id, item, flag, status, seconds IN
        SELECT * FROM commit_old_advances(
            $1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21,
            $22, $23, $24, $25, $26, $27, $28, $29, $30, $31, $32, $33, $34, $35, $36, $37, $38, $39, $40, $41, $42)
    LOOP
        IF kind = 'ended' THEN
            PERFORM FROM run_ended(run_id);
        END IF;
        RETURN NEXT;
    END LOOP;
    FOR run IN SELECT DISTINCT r.id FROM unnest($1) AS r (id) ORDER BY r.id LOOP
        PERFORM note_activity(run, false);
    END LOOP;
END $$;

-- Runs in which everything waits by now are idle since the last of their waits began.
DO $$
DECLARE
    idle record;
BEGIN
    FOR idle IN
        SELECT run_id, max(started_at) AS since FROM open_steps
        GROUP BY run_id HAVING bool_and(status = 'waiting' AND NOT claim_first) ORDER BY run_id
    LOOP
        UPDATE runs SET idle_since = idle.since WHERE id = idle.run_id AND idle_since IS NULL;
    END LOOP;
END $$;

-- The same for ends that old code writes by itself, when it cancels: at the commit, by which new code has done its own.
CREATE FUNCTION follow_old_end() RETURNS trigger
LANGUAGE plpgsql AS $$
BEGIN
    DELETE FROM concurrency_slots WHERE workflow_id = NEW.workflow_id AND run_id = NEW.id;
    IF NEW.parent_waits THEN
        PERFORM 1 FROM runs WHERE id = NEW.parent_run_id FOR NO KEY UPDATE;
        UPDATE open_steps SET status = 'ready', waits = NULL, wake = 'child', claim_first = false, sent_at = now(), sends = 1
        WHERE run_id = NEW.parent_run_id AND node_id = NEW.parent_node_id AND item = NEW.parent_item
          AND status = 'waiting' AND child_run_id = NEW.id;
        IF FOUND THEN
            PERFORM note_activity(NEW.parent_run_id, true);
        END IF;
    END IF;
    RETURN NULL;
END $$;
CREATE CONSTRAINT TRIGGER old_end AFTER UPDATE OF completed_at ON runs DEFERRABLE INITIALLY DEFERRED
    FOR EACH ROW
    WHEN (OLD.completed_at IS NULL AND NEW.completed_at IS NOT NULL AND (NEW.slots <> 0 OR NEW.parent_waits))
    EXECUTE FUNCTION follow_old_end();
