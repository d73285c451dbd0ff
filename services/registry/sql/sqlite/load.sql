SELECT t.tenant, t.name, t.created_at, r.revision, r.version, r.spec, r.code_digest, r.code_bytes,
       r.made_at, c.code
FROM tools t
JOIN revisions r ON r.tenant = t.tenant AND r.name = t.name AND r.revision = coalesce(?3, t.revision)
JOIN codes c ON c.tenant = r.tenant AND c.digest = r.code_digest
WHERE t.tenant = ?1 AND t.name = ?2 AND t.deleted = 0
