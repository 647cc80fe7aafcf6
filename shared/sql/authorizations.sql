-- name: exists
-- Whether a workspace has this authorization.
SELECT EXISTS (SELECT FROM authorizations WHERE id = $1 AND workspace_id = $2);
