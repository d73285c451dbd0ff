-- ?1 prefix, ?2 when
UPDATE api_keys SET last_used_at = ?2 WHERE prefix = ?1 AND coalesce(last_used_at < ?2, true)
