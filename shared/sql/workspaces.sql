-- name: find
-- The workspace of a claim.
SELECT id FROM workspaces WHERE claim = $1;

-- name: add
-- Makes the workspace of a claim; no row if another request was faster.
INSERT INTO workspaces (id, claim) VALUES ($1, $2) ON CONFLICT (claim) DO NOTHING RETURNING id;
