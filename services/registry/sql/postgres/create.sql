-- $1 tenant, $2 name, $3 most tools, $4 spec, $5 digest, $6 code, $7 its bytes, $8 made at,
-- $9 made by, $10 changed, $11 lockfile, $12 the revision whose lockfile it keeps,
-- $13 whether the configuration made it. Runs after lock.sql, so what is read here is true until the commit.
WITH head AS (
    SELECT revision, deleted FROM mcp_tools WHERE tenant = $1 AND name = $2
), verdict AS (
    SELECT CASE
               WHEN EXISTS (SELECT FROM head WHERE NOT deleted) THEN 'exists'
               WHEN (SELECT count(*) FROM mcp_tools WHERE tenant = $1 AND NOT deleted) >= $3 THEN 'full'
               ELSE 'made'
           END AS outcome,
           1 + coalesce((SELECT revision FROM head),
                        (SELECT revision_floor FROM mcp_tenants WHERE tenant = $1), 0) AS revision
), bump AS (
    UPDATE mcp_catalog SET version = mcp_catalog.version + 1
    FROM verdict WHERE id = 1 AND outcome = 'made'
    RETURNING mcp_catalog.version, verdict.revision
), code AS (
    INSERT INTO mcp_codes (tenant, digest, code) SELECT $1, $5, $6 FROM bump ON CONFLICT DO NOTHING
), tool AS (
    INSERT INTO mcp_tools (tenant, name, revision, version, deleted, created_at)
    SELECT $1, $2, revision, version, false, $8 FROM bump
    ON CONFLICT (tenant, name) DO UPDATE SET
        revision = excluded.revision,
        version = excluded.version,
        deleted = false,
        created_at = excluded.created_at
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
SELECT outcome, verdict.revision, coalesce(version, 0) AS version,
       pg_current_xact_id()::text AS transaction,
       (SELECT mark::text FROM mark) AS mark,
       CASE WHEN outcome = 'made'
            THEN pg_notify('dynamic_mcp', current_schema() || ' catalogue ' || version)::text END
FROM verdict LEFT JOIN bump ON true
