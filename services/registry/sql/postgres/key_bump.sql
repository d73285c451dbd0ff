-- Gives a key's change its version, tells the listeners, and leaves what the write is found out by.
-- Runs after lock.sql.
WITH bump AS (
    UPDATE mcp_catalog SET version = mcp_catalog.version + 1 WHERE id = 1 RETURNING version
), mark AS (
    INSERT INTO mcp_writes (slot, mark) SELECT version % 65536, gen_random_uuid() FROM bump
    ON CONFLICT (slot) DO UPDATE SET mark = excluded.mark
    RETURNING mark
)
SELECT version, (SELECT mark::text FROM mark) AS mark, pg_current_xact_id()::text AS transaction,
       pg_notify('dynamic_mcp', current_schema() || ' catalogue ' || version)::text
FROM bump
