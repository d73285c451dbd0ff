-- ?1 log, ?2 number, ?3 start, ?4 first number, ?5 missing, ?6 last number, ?7 its hash, ?8 now
INSERT INTO audit_segments (log, number, start, first_seq, missing, seq, hash, began_at, updated_at)
VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?8)
