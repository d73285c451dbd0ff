-- $1 tenant, $2 name, $3 revision, or null for the newest
SELECT t.tenant, t.name, t.created_at, r.revision, r.version, r.spec::text AS spec, r.code_digest,
       r.code_bytes, r.made_at, c.code
FROM mcp_tools t
JOIN mcp_revisions r
    ON r.tenant = t.tenant AND r.name = t.name AND r.revision = coalesce($3, t.revision)
JOIN mcp_codes c ON c.tenant = r.tenant AND c.digest = r.code_digest
WHERE t.tenant = $1 AND t.name = $2 AND NOT t.deleted
