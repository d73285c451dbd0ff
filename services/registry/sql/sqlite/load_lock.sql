SELECT r.lock
FROM tools t
JOIN revisions r ON r.tenant = t.tenant AND r.name = t.name AND r.revision = ?3
WHERE t.tenant = ?1 AND t.name = ?2 AND t.deleted = 0
