-- Plans of functions, made while a table was empty, look rows up by their keys. With `status = 'waiting'` beside a key, the index
-- of all that waits (or, with `running`, of all that is held) seemed as good, and was gone through for each look-up once
-- thousands of steps were in it. Behind CASE the planner does not see that such an index holds the row.
DO $$
DECLARE
    change record;
    source text;
    changed integer;
BEGIN
    FOR change IN SELECT * FROM (VALUES
        ('note_activity',
         'SELECT 1 FROM open_steps WHERE run_id = run AND status = ''waiting'' AND waits IN (''callback'', ''person''));',
         'SELECT 1 FROM open_steps
        WHERE run_id = run AND CASE status WHEN ''waiting'' THEN waits IN (''callback'', ''person'') END);'),
        ('settle_item',
         'AND item = parent AND status = ''waiting''',
         'AND item = parent AND CASE status WHEN ''waiting'' THEN true END'),
        ('run_ended',
         'AND status = ''waiting'' AND child_run_id = run',
         'AND CASE status WHEN ''waiting'' THEN child_run_id = run END'),
        ('publish_event',
         'AND item = caller_item AND status = ''waiting''',
         'AND item = caller_item AND CASE status WHEN ''waiting'' THEN true END'),
        ('wake_steps',
         'AND item = w_item[i] AND status = ''waiting''',
         'AND item = w_item[i] AND CASE status WHEN ''waiting'' THEN true END'),
        ('enter_limit',
         'run_id = run AND status = ''waiting'' AND waits = ''concurrency''',
         'run_id = run AND CASE status WHEN ''waiting'' THEN waits = ''concurrency'' END'),
        ('admit_queued',
         'run_id = waiting.run_id AND status = ''waiting'' AND waits = ''concurrency''',
         'run_id = waiting.run_id AND CASE status WHEN ''waiting'' THEN waits = ''concurrency'' END'),
        ('fail_item',
         'run_id = run AND status = ''running'' AND item <> parent',
         'run_id = run AND CASE status WHEN ''running'' THEN true END AND item <> parent'),
        ('commit_advances',
         'run_id = u_run[u.i] AND status = ''running'' OFFSET 0',
         'run_id = u_run[u.i] AND CASE status WHEN ''running'' THEN true END OFFSET 0')
    ) AS c (name, old, new) LOOP
        changed := 0;
        FOR source IN
            SELECT pg_get_functiondef(oid) FROM pg_proc
            WHERE proname = change.name AND pronamespace = current_schema()::regnamespace
        LOOP
            IF position(change.old IN source) > 0 THEN
                EXECUTE replace(source, change.old, change.new);
                changed := changed + 1;
            END IF;
        END LOOP;
        IF changed <> 1 THEN
            RAISE EXCEPTION '% functions named % read open_steps as 0016 left them, not 1', changed, change.name;
        END IF;
    END LOOP;
END $$;
