-- What only code before 0002 calls.
DROP FUNCTION commit_advances(
    uuid[], text[], text[], uuid[], timestamptz[], text[], text[], text[], boolean[], integer[], integer[],
    integer[], boolean[], text[], text[], smallint[], integer[], text[], text[], text[], text[], text[], timestamptz[],
    integer[],
    integer[], text[], text[], text[], smallint[], uuid[], timestamptz[], boolean[], boolean[],
    integer[], text[], text[], integer[], integer[], integer[], integer[],
    uuid, boolean);
DROP FUNCTION commit_old_advances(
    uuid[], text[], text[], uuid[], timestamptz[], text[], text[], text[], boolean[], integer[], integer[],
    integer[], boolean[], text[], text[], smallint[], integer[], text[], text[], text[], text[], text[], timestamptz[],
    integer[],
    integer[], text[], text[], text[], smallint[], uuid[], timestamptz[], boolean[], boolean[],
    integer[], text[], text[], integer[], integer[], integer[], integer[],
    uuid, boolean);
DROP FUNCTION claim_steps(uuid[], text[], text[], uuid[], uuid);
DROP FUNCTION load_steps(uuid[], text[], text[]);
DROP TYPE loaded_step;
DROP FUNCTION step_outputs(uuid[], text[]);
DROP TRIGGER old_end ON runs;
DROP FUNCTION follow_old_end();
