-- ?1 records and ?2 bytes more
UPDATE audit_totals SET rows = rows + ?1, bytes = bytes + ?2 WHERE id = 1
