-- $1 after this version, $2 most
SELECT prefix, tenant, name, subject, digest, scopes::text AS scopes, role, tier, created_at, created_by,
       expires_at, last_used_at, revoked_at, replaced_by, overlap_until, version
FROM mcp_api_keys WHERE version > $1 ORDER BY version LIMIT $2
