-- $1 tenant, $2 name, $3 revision, $4 lockfile. Keeps the first one.
UPDATE mcp_revisions SET lock = $4
WHERE tenant = $1 AND name = $2 AND revision = $3 AND lock IS NULL
