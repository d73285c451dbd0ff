-- Notes where an import came from and tells of it. $1 the note.
WITH noted AS (
    INSERT INTO mcp_meta (key, value) VALUES ('import', $1)
    ON CONFLICT (key) DO UPDATE SET value = excluded.value
), bump AS (
    SELECT version FROM mcp_catalog WHERE id = 1
), mark AS (
    INSERT INTO mcp_writes (slot, mark) SELECT version % 65536, gen_random_uuid() FROM bump
    ON CONFLICT (slot) DO UPDATE SET mark = excluded.mark
    RETURNING mark
)
SELECT version, pg_current_xact_id()::text AS transaction, mark::text AS mark,
       pg_notify('dynamic_mcp', current_schema() || ' catalogue ' || version)::text
FROM bump, mark
