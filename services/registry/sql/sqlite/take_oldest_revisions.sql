DELETE FROM revisions
WHERE tenant = ?1 AND name = ?2 AND revision NOT IN (
    SELECT revision FROM revisions
    WHERE tenant = ?1 AND name = ?2
    ORDER BY revision DESC LIMIT ?3
)
RETURNING code_digest
