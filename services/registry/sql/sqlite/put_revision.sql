INSERT INTO revisions
    (tenant, name, revision, version, spec, code_digest, code_bytes, made_at, made_by, changed, lock,
     declared)
VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10,
        coalesce(?11, (SELECT lock FROM revisions WHERE tenant = ?1 AND name = ?2 AND revision = ?12)), ?13)
