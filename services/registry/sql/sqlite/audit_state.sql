-- ?1 log
SELECT total.rows, total.bytes,
       (SELECT received_at FROM audit_records ORDER BY id LIMIT 1) AS oldest,
       coalesce(newest.number, 0) AS number, newest.seq, newest.hash
FROM audit_totals AS total
LEFT JOIN (SELECT number, seq, hash FROM audit_segments WHERE log = ?1 ORDER BY number DESC LIMIT 1)
    AS newest
WHERE total.id = 1
