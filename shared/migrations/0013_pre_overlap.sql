-- `overlap`: runs of a schedule that are not to begin beside each other.
-- The runs that schedules started, as long as they are open, of workflows whose `overlap` is not `allow`. What has ended is
-- dropped when somebody looks.
CREATE TABLE scheduled_runs (
    workspace_id  uuid NOT NULL,
    workflow_id   uuid NOT NULL REFERENCES workflows ON DELETE CASCADE,
    slot          timestamptz NOT NULL,
    run_id        uuid NOT NULL,
    PRIMARY KEY (workflow_id, slot)
);
CREATE INDEX scheduled_runs_by_run ON scheduled_runs (run_id);

-- The slot whose turn it is: of the oldest open run that a workflow's schedule made, while later ones wait for it. What ended
-- before it is dropped. The workflow's row is locked.
CREATE FUNCTION first_scheduled(flow uuid) RETURNS timestamptz
LANGUAGE plpgsql
SET plan_cache_mode = force_generic_plan
SET enable_seqscan = off
AS $$
DECLARE
    first timestamptz;
BEGIN
    SELECT s.slot INTO first FROM scheduled_runs s
    WHERE s.workflow_id = flow AND (SELECT r.completed_at IS NULL FROM runs r WHERE r.id = s.run_id)
    ORDER BY s.slot LIMIT 1;
    DELETE FROM scheduled_runs WHERE workflow_id = flow AND slot < coalesce(first, 'infinity');
    RETURN first;
END $$;

-- A run of a limited workflow wants to begin; its first step is held under `claim`. With room it gets its slots and goes
-- on; else its workflow's policy says: it waits (`queued`), also until the oldest run under way that nobody has cancelled yet
-- is (`cancel_oldest`), or it is `skipped`. Runs with one key are always serialised, and so are those that its schedule makes
-- while `overlap` lets none begin beside another, in the order of their slots. The workflow's row is locked, so slots are
-- given out one run after the other.
CREATE OR REPLACE FUNCTION enter_limit(run uuid, claim uuid, same text, OUT verdict text, OUT oldest uuid)
LANGUAGE plpgsql
SET plan_cache_mode = force_generic_plan
SET enable_seqscan = off
AS $$
DECLARE
    flow uuid := (SELECT workflow_id FROM runs WHERE id = run);
    rules record;
    full_up boolean;
    turn timestamptz;
    too_early boolean := false;
BEGIN
    SELECT limited, max_concurrent_runs AS most, settings::json ->> 'on_limit' AS policy,
           settings::json ->> 'overlap' IN ('queue', 'cancel_running') AS in_turn INTO rules
    FROM workflows WHERE id = flow FOR NO KEY UPDATE;
    PERFORM 1 FROM runs WHERE id = run FOR NO KEY UPDATE;
    verdict := 'entered';
    IF (SELECT slots FROM runs WHERE id = run) > 0 THEN
        RETURN;  -- a run that goes on where another ended begins with several steps: the first of them enters for all
    END IF;
    IF NOT coalesce(rules.limited, false) THEN
        UPDATE runs SET slots = 0 WHERE id = run AND slots < 0;
        RETURN;
    END IF;
    full_up := rules.most <= (SELECT count(*) FROM concurrency_slots WHERE workflow_id = flow AND key LIKE 'run:%');
    IF rules.in_turn THEN
        turn := first_scheduled(flow);
        too_early := EXISTS (SELECT 1 FROM scheduled_runs s WHERE s.run_id = run AND s.slot > turn);
    END IF;
    full_up := full_up AND NOT too_early;
    IF too_early OR coalesce(full_up, false)
            OR EXISTS (SELECT 1 FROM concurrency_slots WHERE workflow_id = flow AND key = 'key:' || same) THEN
        IF full_up AND rules.policy = 'skip' THEN
            verdict := 'skipped';
            RETURN;
        END IF;
        IF full_up AND rules.policy = 'cancel_oldest' THEN
            SELECT s.run_id INTO oldest FROM concurrency_slots s
            WHERE s.workflow_id = flow AND s.key LIKE 'run:%'
              AND (SELECT r.outcome FROM runs r WHERE r.id = s.run_id) IS NULL
            ORDER BY s.run_id LIMIT 1;
        END IF;
        verdict := 'queued';
        UPDATE runs SET concurrency_key = same WHERE id = run;
        UPDATE open_steps SET status = 'waiting', waits = 'concurrency', claim_id = NULL, incarnation_id = NULL
        WHERE run_id = run AND claim_id = claim;
        RETURN;
    END IF;
    PERFORM take_slots(run, same);
    UPDATE open_steps SET status = 'ready', waits = NULL, sent_at = NULL, sends = 0
    WHERE run_id = run AND status = 'waiting' AND waits = 'concurrency';
END $$;

-- Lets runs go on that wait for a slot of a workflow, the oldest first, as many as there is room for. Whoever gives slots
-- out at this moment is waited for: it may not have seen the slot that has just been freed.
CREATE OR REPLACE FUNCTION admit_queued(flow uuid) RETURNS SETOF opened_step
LANGUAGE plpgsql
SET lock_timeout = '500ms'
SET plan_cache_mode = force_generic_plan
SET enable_seqscan = off
AS $$
DECLARE
    most integer;
    in_turn boolean;
    turn timestamptz;
    taken bigint;
    waiting record;
    same text;
    made opened_step;
BEGIN
    SELECT max_concurrent_runs, settings::json ->> 'overlap' IN ('queue', 'cancel_running') INTO most, in_turn
    FROM workflows WHERE id = flow FOR NO KEY UPDATE;
    IF NOT FOUND THEN
        RETURN;
    END IF;
    IF in_turn THEN
        turn := first_scheduled(flow);
    END IF;
    SELECT count(*) INTO taken FROM concurrency_slots WHERE workflow_id = flow AND key LIKE 'run:%';
    FOR waiting IN
        SELECT o.run_id, o.node_id, o.item FROM open_steps o
        WHERE o.workflow_id = flow AND o.status = 'waiting' AND o.waits = 'concurrency'
          AND NOT EXISTS (SELECT 1 FROM scheduled_runs s WHERE s.run_id = o.run_id AND s.slot > turn)
        ORDER BY o.run_id LIMIT 1000
    LOOP
        EXIT WHEN taken >= most;
        SELECT concurrency_key INTO same FROM runs WHERE id = waiting.run_id AND outcome IS NULL AND slots < 0
        FOR NO KEY UPDATE SKIP LOCKED;
        CONTINUE WHEN NOT FOUND
            OR EXISTS (SELECT 1 FROM concurrency_slots WHERE workflow_id = flow AND key = 'key:' || same);
        FOR made IN
            UPDATE open_steps SET status = 'ready', waits = NULL, sent_at = now(), sends = 1
            WHERE run_id = waiting.run_id AND status = 'waiting' AND waits = 'concurrency'
            RETURNING run_id, node_id, item, priority
        LOOP
            RETURN NEXT made;
        END LOOP;
        CONTINUE WHEN NOT FOUND;
        PERFORM take_slots(waiting.run_id, same);
        taken := taken + 1;
    END LOOP;
END $$;
