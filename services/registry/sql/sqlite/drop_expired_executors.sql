DELETE FROM executors WHERE expires_at <= CAST(unixepoch('subsec') * 1000 AS INTEGER)
