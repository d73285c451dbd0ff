-- $1 log, $2 number, $3 last number, $4 its hash, $5 now
UPDATE mcp_audit_segments SET seq = $3, hash = $4, updated_at = $5 WHERE log = $1 AND number = $2
