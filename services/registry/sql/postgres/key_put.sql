-- A key that is there keeps what never changes, and its last use.
INSERT INTO mcp_api_keys
    (prefix, tenant, name, subject, digest, scopes, role, tier, created_at, created_by, expires_at,
     last_used_at, revoked_at, replaced_by, overlap_until, version)
VALUES ($1, $2, $3, $4, $5, $6::text::json, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16)
ON CONFLICT (prefix) DO UPDATE SET
    revoked_at = excluded.revoked_at,
    replaced_by = excluded.replaced_by,
    overlap_until = excluded.overlap_until,
    version = excluded.version
