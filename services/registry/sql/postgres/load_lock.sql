-- $1 tenant, $2 name, $3 revision
SELECT r.lock
FROM mcp_tools t
JOIN mcp_revisions r ON r.tenant = t.tenant AND r.name = t.name AND r.revision = $3
WHERE t.tenant = $1 AND t.name = $2 AND NOT t.deleted
