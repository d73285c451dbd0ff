UPDATE catalog SET version = version + 1 WHERE id = 1 RETURNING version
