-- name: load_version
-- A version of a workflow: its plan, its source for when the plan has another format, and what it presents to APIs.
SELECT v.plan, v.plan_format, v.nodes, v.edges, v.settings, w.name, v.authorization_id
FROM workflow_versions v JOIN workflows w ON w.id = v.workflow_id
WHERE v.workflow_id = $1 AND v.version = $2;
