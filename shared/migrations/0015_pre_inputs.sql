-- What workflows ask of the context that they are called with.

CREATE TABLE input_schemas (
    workflow_id   uuid PRIMARY KEY REFERENCES workflows ON DELETE CASCADE,
    workspace_id  uuid NOT NULL,
    schema        text NOT NULL
);
