SELECT id, info::text AS info FROM mcp_executors
WHERE expires_at > floor(extract(epoch FROM clock_timestamp()) * 1000)::bigint
ORDER BY id
