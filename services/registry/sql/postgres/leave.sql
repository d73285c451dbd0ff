-- $1 id
WITH gone AS (
    DELETE FROM mcp_executors WHERE id = $1 RETURNING id
)
SELECT pg_notify('dynamic_mcp', current_schema() || ' fleet')::text FROM gone
