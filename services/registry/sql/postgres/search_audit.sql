-- Each null or: $1 since, $2 until, $3 actor, $4 action, $5 tenant, $6 target, $7 outcome, $8 before this
-- record. $9 most, $10 most bytes.
WITH hit AS (
    SELECT id, bytes FROM mcp_audit_records
    WHERE ($1::bigint IS NULL OR at >= $1) AND ($2::bigint IS NULL OR at < $2)
      AND ($3::text IS NULL OR actor = $3) AND ($4::text IS NULL OR action = $4)
      AND ($5::text IS NULL OR tenant = $5) AND ($6::text IS NULL OR target = $6)
      AND ($7::text IS NULL OR outcome = $7) AND ($8::bigint IS NULL OR id < $8)
    ORDER BY id DESC LIMIT $9
), fitting AS (
    SELECT id, sum(bytes) OVER (ORDER BY id DESC) - bytes AS ahead FROM hit
)
SELECT record.id, record.log, record.segment, record.line, (SELECT count(*) FROM hit) AS hits
FROM fitting JOIN mcp_audit_records AS record ON record.id = fitting.id
WHERE fitting.ahead < $10
ORDER BY record.id DESC
