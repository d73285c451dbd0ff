-- $1 log. What the copy holds, and the newest segment of the log. To write, run it after lock_audit.sql.
SELECT total.rows, total.bytes,
       (SELECT received_at FROM mcp_audit_records ORDER BY id LIMIT 1) AS oldest,
       coalesce(newest.number, 0) AS number, newest.seq, newest.hash
FROM mcp_audit_totals AS total
LEFT JOIN LATERAL (
    SELECT number, seq, hash FROM mcp_audit_segments WHERE log = $1 ORDER BY number DESC LIMIT 1
) AS newest ON true
WHERE total.id = 1
