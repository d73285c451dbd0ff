-- ?1 now, ?2 log, ?3 segment, ?4 number, ?5 time, ?6 actor, ?7 tenant, ?8 action, ?9 target, ?10 outcome,
-- ?11 line
INSERT INTO audit_records
    (received_at, log, segment, seq, at, actor, tenant, action, target, outcome, bytes, line)
VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, octet_length(?11), ?11)
