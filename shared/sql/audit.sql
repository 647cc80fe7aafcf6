-- name: add
-- Notes one write: who did what to which thing, what it was before and after, and by which request.
INSERT INTO audit (id, workspace_id, actor, action, target, before_digest, after_digest, request_id)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8);
