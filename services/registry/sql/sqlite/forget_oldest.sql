DELETE FROM tools
WHERE tenant = ?1 AND deleted = 1 AND version <= (
    SELECT version FROM tools
    WHERE tenant = ?1 AND deleted = 1
    ORDER BY version DESC LIMIT 1 OFFSET ?2
)
RETURNING revision, version
