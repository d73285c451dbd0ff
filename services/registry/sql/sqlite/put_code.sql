INSERT INTO codes (tenant, digest, code) VALUES (?1, ?2, ?3) ON CONFLICT DO NOTHING
