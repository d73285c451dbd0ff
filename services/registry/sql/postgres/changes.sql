-- $1: from just after this version; $2: deletions only from just after this one; $3: how many
SELECT t.tenant, t.name, t.version AS head_version, t.deleted, t.created_at,
       r.revision, r.version, r.spec::text AS spec, r.code_digest, r.code_bytes, r.made_at
FROM mcp_tools t
LEFT JOIN mcp_revisions r ON r.tenant = t.tenant AND r.name = t.name AND r.revision = t.revision
WHERE t.version > $1 AND (NOT t.deleted OR t.version > $2)
ORDER BY t.version
LIMIT $3
