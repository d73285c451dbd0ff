-- ?1 tenant, ?2 now, ?3 how many keys that do not work any more are kept
DELETE FROM api_keys WHERE prefix IN (
    SELECT prefix FROM api_keys
    WHERE tenant = ?1 AND (revoked_at IS NOT NULL OR expires_at <= ?2 OR overlap_until <= ?2)
    ORDER BY version DESC LIMIT -1 OFFSET ?3)
RETURNING version
