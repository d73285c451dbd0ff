UPDATE tools SET deleted = 1, version = ?3 WHERE tenant = ?1 AND name = ?2
