-- $1 now, $2 log, then one array each of the records' columns: $3 segment, $4 number, $5 time, $6 actor,
-- $7 tenant, $8 action, $9 target, $10 outcome, $11 line
INSERT INTO mcp_audit_records
    (received_at, log, segment, seq, at, actor, tenant, action, target, outcome, bytes, line)
SELECT $1, $2, segment, seq, at, actor, tenant, action, target, outcome, octet_length(line), line
FROM unnest($3::bigint[], $4::bigint[], $5::bigint[], $6::text[], $7::text[], $8::text[], $9::text[],
            $10::text[], $11::text[]) WITH ORDINALITY
    AS record (segment, seq, at, actor, tenant, action, target, outcome, line, place)
ORDER BY place
