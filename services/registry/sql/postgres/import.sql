-- One tool of another store into one that never held any. $1 tenant, $2 name, $3 revision, $4 spec,
-- $5 digest, $6 code, $7 its bytes, $8 made at, $9 made by, $10 changed, $11 lockfile, $12 unused,
-- $13 whether the configuration made it, $14 created at.
WITH bump AS (
    UPDATE mcp_catalog SET version = version + 1 WHERE id = 1 RETURNING version
), code AS (
    INSERT INTO mcp_codes (tenant, digest, code) VALUES ($1, $5, $6) ON CONFLICT DO NOTHING
), tool AS (
    INSERT INTO mcp_tools (tenant, name, revision, version, deleted, created_at)
    SELECT $1, $2, $3, version, false, $14 FROM bump
), kept AS (
    INSERT INTO mcp_revisions
        (tenant, name, revision, version, spec, code_digest, code_bytes, made_at, made_by, changed, lock,
         declared)
    SELECT $1, $2, $3, version, $4::json, $5, $7, $8, $9, $10::json, $11, $13 FROM bump WHERE $12::bigint IS NULL
)
SELECT version FROM bump
