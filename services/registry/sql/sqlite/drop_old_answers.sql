DELETE FROM answers
WHERE tenant = ?1 AND made_at <= max(?2, coalesce((
    SELECT made_at FROM answers WHERE tenant = ?1 ORDER BY made_at DESC LIMIT 1 OFFSET ?3
), 0))
