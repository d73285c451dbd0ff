-- $1 tenant, $2 now, $3 how many keys that do not work any more are kept. Who follows from before one
-- that goes gets everything again.
WITH gone AS (
    DELETE FROM mcp_api_keys WHERE prefix IN (
        SELECT prefix FROM mcp_api_keys
        WHERE tenant = $1 AND (revoked_at IS NOT NULL OR expires_at <= $2 OR overlap_until <= $2)
        ORDER BY version DESC OFFSET $3)
    RETURNING version
)
INSERT INTO mcp_meta (key, value)
SELECT 'keys_floor', max(version)::text FROM gone HAVING count(*) > 0
ON CONFLICT (key) DO UPDATE SET value = greatest(mcp_meta.value::bigint, excluded.value::bigint)::text
