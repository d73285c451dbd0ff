INSERT INTO revisions
    (tenant, name, revision, version, spec, code_digest, code_bytes, made_at, made_by, changed)
VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)
