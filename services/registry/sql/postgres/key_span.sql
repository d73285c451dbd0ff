-- Keys are known from the first version of the catalogue on, and after those that were dropped.
SELECT greatest(first_version, coalesce((SELECT value::bigint FROM mcp_meta WHERE key = 'keys_floor'), 0))
           AS first_version,
       version
FROM mcp_catalog WHERE id = 1
