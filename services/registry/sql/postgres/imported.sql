-- Notes where an import came from and tells of it. $1 the note.
WITH noted AS (
    INSERT INTO mcp_meta (key, value) VALUES ('import', $1)
    ON CONFLICT (key) DO UPDATE SET value = excluded.value
)
SELECT version, pg_current_xact_id()::text AS transaction,
       pg_notify('dynamic_mcp', current_schema() || ' catalogue ' || version)::text
FROM mcp_catalog WHERE id = 1
