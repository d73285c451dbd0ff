-- $1 tenant, $2 name, $3 based on, $4 spec, $5 digest, $6 code, $7 its bytes, $8 made at, $9 made by,
-- $10 changed, $11 lockfile, $12 the revision whose lockfile it keeps,
-- $13 whether the configuration made it. Runs after lock.sql, so what is read here is true until the commit.
WITH head AS (
    SELECT revision, created_at FROM mcp_tools WHERE tenant = $1 AND name = $2 AND NOT deleted
), bump AS (
    UPDATE mcp_catalog SET version = mcp_catalog.version + 1
    FROM head WHERE id = 1 AND head.revision = $3
    RETURNING mcp_catalog.version, head.revision + 1 AS revision
), code AS (
    INSERT INTO mcp_codes (tenant, digest, code) SELECT $1, $5, $6 FROM bump ON CONFLICT DO NOTHING
), tool AS (
    UPDATE mcp_tools SET revision = bump.revision, version = bump.version
    FROM bump WHERE tenant = $1 AND name = $2
), kept AS (
    INSERT INTO mcp_revisions
        (tenant, name, revision, version, spec, code_digest, code_bytes, made_at, made_by, changed, lock,
         declared)
    SELECT $1, $2, revision, version, $4::json, $5, $7, $8, $9, $10::json,
           coalesce($11, (SELECT lock FROM mcp_revisions AS before
                          WHERE before.tenant = $1 AND before.name = $2 AND before.revision = $12)), $13
    FROM bump
), mark AS (
    INSERT INTO mcp_writes (slot, mark) SELECT version % 65536, gen_random_uuid() FROM bump
    ON CONFLICT (slot) DO UPDATE SET mark = excluded.mark
    RETURNING mark
)
SELECT head.revision, head.created_at, coalesce(version, 0) AS version,
       pg_current_xact_id()::text AS transaction,
       (SELECT mark::text FROM mark) AS mark,
       CASE WHEN version IS NOT NULL
            THEN pg_notify('dynamic_mcp', current_schema() || ' catalogue ' || version)::text END
FROM head LEFT JOIN bump ON true
