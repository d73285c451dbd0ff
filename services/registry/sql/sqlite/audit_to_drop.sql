-- Which of the oldest records go: up to which one, how many, how many bytes. ?1 records and ?2 bytes that
-- are there, ?3 most records, ?4 most bytes, ?5 records from before go, ?6 how many are looked at.
SELECT coalesce(max(id), 0), count(*), coalesce(sum(bytes), 0)
FROM (
    SELECT id, received_at, bytes,
           row_number() OVER (ORDER BY id) AS nth,
           sum(bytes) OVER (ORDER BY id) - bytes AS freed
    FROM (SELECT id, received_at, bytes FROM audit_records ORDER BY id LIMIT ?6)
)
WHERE received_at < ?5 OR nth <= ?1 - ?3 OR freed < ?2 - ?4
