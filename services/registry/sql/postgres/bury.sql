-- $1 tenant, $2 name, $3 expected revision or null. Runs after lock.sql.
WITH head AS (
    SELECT revision FROM mcp_tools WHERE tenant = $1 AND name = $2 AND NOT deleted
), bump AS (
    UPDATE mcp_catalog SET version = mcp_catalog.version + 1
    FROM head WHERE id = 1 AND head.revision = coalesce($3, head.revision)
    RETURNING mcp_catalog.version
), tool AS (
    UPDATE mcp_tools SET deleted = true, version = bump.version
    FROM bump WHERE tenant = $1 AND name = $2
), mark AS (
    INSERT INTO mcp_writes (slot, mark) SELECT version % 65536, gen_random_uuid() FROM bump
    ON CONFLICT (slot) DO UPDATE SET mark = excluded.mark
    RETURNING mark
)
SELECT head.revision, coalesce(version, 0) AS version, pg_current_xact_id()::text AS transaction,
       (SELECT mark::text FROM mark) AS mark,
       CASE WHEN version IS NOT NULL
            THEN pg_notify('dynamic_mcp', current_schema() || ' catalogue ' || version)::text END
FROM head LEFT JOIN bump ON true
