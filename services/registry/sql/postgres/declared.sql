-- Every tool that is changed by the configuration alone.
SELECT t.tenant, t.name, t.revision
FROM mcp_tools t
JOIN mcp_revisions r ON r.tenant = t.tenant AND r.name = t.name AND r.revision = t.revision
WHERE NOT t.deleted AND r.declared
ORDER BY t.tenant, t.name
