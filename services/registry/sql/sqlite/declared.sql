-- Every tool that is changed by the configuration alone.
SELECT t.tenant, t.name, t.revision
FROM tools t
JOIN revisions r ON r.tenant = t.tenant AND r.name = t.name AND r.revision = t.revision
WHERE t.deleted = 0 AND r.declared = 1
ORDER BY t.tenant, t.name
