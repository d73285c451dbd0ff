SELECT count(*) FROM tools WHERE tenant = ?1 AND deleted = 0
