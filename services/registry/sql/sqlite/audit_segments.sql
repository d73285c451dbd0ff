-- ?1 log or null, ?2 and ?3 after this log and number or null, ?4 most
SELECT log, number, start, first_seq, missing, seq, hash, began_at, updated_at
FROM audit_segments
WHERE (?1 IS NULL OR log = ?1) AND (?2 IS NULL OR (log, number) > (?2, ?3))
ORDER BY log, number
LIMIT ?4
