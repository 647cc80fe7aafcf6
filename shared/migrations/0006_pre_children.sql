-- A step calls a workflow: the run starts, in the transaction in which the step begins to wait for it. A step that does not
-- wait, or whose call is refused, goes on at once; `wake` says then why there is no run. The caller's row is locked.
CREATE FUNCTION start_child(
    caller uuid, caller_node text, caller_item text, child uuid, callee uuid, payload text, waited boolean
) RETURNS SETOF opened_step
LANGUAGE plpgsql
SET plan_cache_mode = force_generic_plan
AS $$
#variable_conflict use_column
DECLARE
    above record;
    target workflows%ROWTYPE;
    refusal text;
    made opened_step;
BEGIN
    SELECT r.workspace_id, r.depth INTO above FROM runs r WHERE r.id = caller;
    SELECT w.* INTO target FROM workflows w
    WHERE w.id = callee AND w.workspace_id = above.workspace_id AND w.deleted_at IS NULL;
    refusal := CASE WHEN target.id IS NULL THEN 'gone'
                    WHEN NOT target.is_active THEN 'inactive'
                    WHEN target.trigger_component <> 'workflow_trigger' THEN 'not_callable'
                    WHEN above.depth >= 10 THEN 'too_deep' END;
    IF refusal IS NULL THEN
        made := ROW(child, target.trigger_node, '-', target.priority);
        INSERT INTO runs (id, workspace_id, workflow_id, version, priority, trigger_type, trigger_payload, open_steps,
                          parent_run_id, parent_node_id, parent_item, parent_waits, depth, slots)
        VALUES (child, target.workspace_id, target.id, target.version, target.priority, 'workflow', payload, 1,
                caller, caller_node, caller_item, waited, above.depth + 1, CASE WHEN target.limited THEN -1 ELSE 0 END);
        INSERT INTO open_steps (run_id, node_id, workspace_id, workflow_id, priority, status, claim_first, sent_at, sends)
        VALUES (child, made.node_id, target.workspace_id, target.id, target.priority, 'ready', target.limited, now(), 1);
        RETURN NEXT made;
    END IF;
    IF refusal IS NOT NULL OR NOT waited THEN
        UPDATE open_steps
        SET status = 'ready', waits = NULL, wake = coalesce(refusal, 'child'),
            child_run_id = CASE WHEN refusal IS NULL THEN child END, sent_at = now(), sends = 1
        WHERE run_id = caller AND node_id = caller_node AND item = caller_item AND child_run_id = child
        RETURNING run_id, node_id, item, priority INTO made;
        PERFORM note_activity(caller, true);
        RETURN NEXT made;
    END IF;
END $$;
