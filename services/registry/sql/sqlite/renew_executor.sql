INSERT INTO executors (id, info, expires_at)
VALUES (?1, ?2, CAST(unixepoch('subsec') * 1000 AS INTEGER) + ?3)
ON CONFLICT (id) DO UPDATE SET info = excluded.info, expires_at = excluded.expires_at
