SELECT revision, deleted, created_at FROM tools WHERE tenant = ?1 AND name = ?2
