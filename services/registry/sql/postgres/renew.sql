-- $1 id, $2 info, $3 lease in milliseconds, $4 most others. Runs after lock_executors.sql.
WITH now AS (
    SELECT floor(extract(epoch FROM clock_timestamp()) * 1000)::bigint AS at
), expired AS (
    DELETE FROM mcp_executors USING now WHERE expires_at <= at AND id <> $1
), others AS (
    SELECT count(*) AS number FROM mcp_executors, now WHERE id <> $1 AND expires_at > at
), known AS (
    SELECT FROM mcp_executors, now WHERE id = $1 AND expires_at > at AND info::text = $2
), renewed AS (
    INSERT INTO mcp_executors (id, info, expires_at)
    SELECT $1, $2::json, at + $3 FROM now, others WHERE number < $4
    ON CONFLICT (id) DO UPDATE SET info = excluded.info, expires_at = excluded.expires_at
    RETURNING id
)
SELECT EXISTS (SELECT FROM renewed) AS fits,
       CASE WHEN EXISTS (SELECT FROM renewed) AND NOT EXISTS (SELECT FROM known)
            THEN pg_notify('dynamic_mcp', current_schema() || ' fleet')::text END
