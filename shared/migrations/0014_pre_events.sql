-- Which workflows listen to which events, and events that steps publish.

CREATE TABLE event_listeners (
    workflow_id   uuid PRIMARY KEY REFERENCES workflows ON DELETE CASCADE,
    workspace_id  uuid NOT NULL,
    event         text NOT NULL CHECK (length(event) BETWEEN 1 AND 128),
    filter        text
);
CREATE INDEX event_listeners_by_event ON event_listeners (workspace_id, event, workflow_id);

-- A step publishes an event: a run of each of these workflows starts under the id beside it, in the transaction in which the
-- step begins to wait; it goes on at once, and finds as its answer which runs these are, or why there are none (`verdict`).
-- The caller's row is locked.
CREATE FUNCTION publish_event(
    caller uuid, caller_node text, caller_item text, verdict text, ids uuid[], listeners uuid[], payload text
) RETURNS SETOF opened_step
LANGUAGE plpgsql
SET plan_cache_mode = force_generic_plan
SET enable_seqscan = off
AS $$
#variable_conflict use_column
DECLARE
    above record;
    started uuid[] := '{}';
    made opened_step;
BEGIN
    SELECT r.workspace_id, r.depth INTO above FROM runs r WHERE r.id = caller;
    verdict := CASE WHEN above.depth >= 10 THEN 'too_deep' ELSE verdict END;
    IF verdict = 'published' THEN
        FOR made IN
            WITH wanted AS (
                SELECT u.id AS run_id, w.* FROM unnest(ids, listeners) AS u (id, flow) JOIN workflows w ON w.id = u.flow
                WHERE w.workspace_id = above.workspace_id AND w.is_active AND w.deleted_at IS NULL
                  AND w.trigger_component = 'event_trigger'
            ), begun AS (
                INSERT INTO runs (id, workspace_id, workflow_id, version, priority, trigger_type, trigger_payload,
                                  open_steps, parent_run_id, parent_node_id, parent_item, depth, slots)
                SELECT run_id, workspace_id, id, version, priority, 'event', payload, 1, caller, caller_node, caller_item,
                       above.depth + 1, CASE WHEN limited THEN -1 ELSE 0 END
                FROM wanted ORDER BY run_id
            )
            INSERT INTO open_steps (run_id, node_id, workspace_id, workflow_id, priority, status, claim_first, sent_at,
                                    sends)
            SELECT run_id, trigger_node, workspace_id, id, priority, 'ready', limited, now(), 1 FROM wanted ORDER BY run_id
            RETURNING run_id, node_id, item, priority
        LOOP
            started := started || made.run_id;
            RETURN NEXT made;
        END LOOP;
    END IF;
    INSERT INTO answers (run_id, workspace_id, node_id, item, outcome, data)
    VALUES (caller, above.workspace_id, caller_node, caller_item, verdict,
            json_build_object('run_ids', ARRAY(SELECT typeid('fl_run', u.id) FROM unnest(started) AS u (id)))::text)
    ON CONFLICT (run_id, node_id, item) DO UPDATE SET outcome = excluded.outcome, data = excluded.data;
    UPDATE open_steps SET status = 'ready', waits = NULL, wake = 'answer', sent_at = now(), sends = 1
    WHERE run_id = caller AND node_id = caller_node AND item = caller_item AND status = 'waiting'
    RETURNING run_id, node_id, item, priority INTO made;
    IF FOUND THEN
        PERFORM note_activity(caller, true);
        RETURN NEXT made;
    END IF;
END $$;
