-- Counts what was added and drops the oldest records. $1 records and $2 bytes that were added, $3 most
-- records, $4 most bytes, $5 records from before go, $6 how many of the oldest are looked at.
WITH total AS (
    SELECT rows + $1 AS rows, bytes + $2 AS bytes FROM mcp_audit_totals WHERE id = 1
), oldest AS (
    SELECT id, received_at, bytes,
           row_number() OVER (ORDER BY id) AS nth,
           sum(bytes) OVER (ORDER BY id) - bytes AS freed
    FROM (SELECT id, received_at, bytes FROM mcp_audit_records ORDER BY id LIMIT $6) AS first
), dropped AS (
    DELETE FROM mcp_audit_records AS record USING oldest, total
    WHERE record.id = oldest.id
      AND (oldest.received_at < $5 OR oldest.nth <= total.rows - $3
           OR oldest.freed < total.bytes - $4)
    RETURNING record.bytes
), gone AS (
    SELECT count(*) AS rows, coalesce(sum(bytes), 0)::bigint AS bytes FROM dropped
)
UPDATE mcp_audit_totals AS totals
SET rows = total.rows - gone.rows, bytes = total.bytes - gone.bytes
FROM total, gone WHERE totals.id = 1
