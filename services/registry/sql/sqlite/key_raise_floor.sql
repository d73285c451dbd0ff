-- ?1 the newest version that was dropped
INSERT INTO meta (key, value) VALUES ('keys_floor', CAST(?1 AS TEXT))
ON CONFLICT (key) DO UPDATE SET value = max(CAST(value AS INTEGER), CAST(excluded.value AS INTEGER))
