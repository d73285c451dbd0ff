INSERT INTO tools (tenant, name, revision, version, deleted, created_at)
VALUES (?1, ?2, ?3, ?4, 0, ?5)
ON CONFLICT (tenant, name) DO UPDATE SET
    revision = excluded.revision,
    version = excluded.version,
    deleted = 0,
    created_at = excluded.created_at
