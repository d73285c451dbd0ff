UPDATE revisions SET lock = ?4
WHERE tenant = ?1 AND name = ?2 AND revision = ?3 AND lock IS NULL
