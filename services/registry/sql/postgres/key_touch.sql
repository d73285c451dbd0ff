-- $1 prefixes, $2 when each was used. Locked in one order: two gateways tell of the same keys at once.
WITH used AS (
    SELECT prefix, at FROM unnest($1::text[], $2::bigint[]) AS used (prefix, at)
), locked AS (
    SELECT prefix FROM mcp_api_keys WHERE prefix = ANY ($1::text[]) ORDER BY prefix FOR NO KEY UPDATE
)
UPDATE mcp_api_keys AS kept SET last_used_at = used.at
FROM used JOIN locked USING (prefix)
WHERE kept.prefix = used.prefix AND coalesce(kept.last_used_at < used.at, true)
