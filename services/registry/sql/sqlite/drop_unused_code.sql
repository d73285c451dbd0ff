DELETE FROM codes
WHERE tenant = ?1 AND digest = ?2
  AND NOT EXISTS (SELECT 1 FROM revisions WHERE tenant = ?1 AND code_digest = ?2)
