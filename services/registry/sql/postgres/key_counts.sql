-- $1 tenant, $2 now: keys that work, of the tenant and of all
SELECT count(*) FILTER (WHERE tenant = $1) AS own, count(*) AS everybodys
FROM mcp_api_keys
WHERE revoked_at IS NULL AND coalesce(expires_at > $2, true) AND coalesce(overlap_until > $2, true)
