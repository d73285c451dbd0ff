-- ?1 tenant, ?2 name: at which revision a tool is, and whether it is changed by the configuration alone
SELECT t.revision, r.declared
FROM tools t
JOIN revisions r ON r.tenant = t.tenant AND r.name = t.name AND r.revision = t.revision
WHERE t.tenant = ?1 AND t.name = ?2 AND t.deleted = 0
