-- Forgets all but the newest deleted names of a tenant. $1 tenant, $2 how many are kept.
WITH gone AS (
    DELETE FROM mcp_tools
    WHERE tenant = $1 AND deleted AND version <= (
        SELECT version FROM mcp_tools
        WHERE tenant = $1 AND deleted
        ORDER BY version DESC LIMIT 1 OFFSET $2
    )
    RETURNING revision, version
), floors AS (
    INSERT INTO mcp_tenants (tenant, revision_floor)
    SELECT $1, max(revision) FROM gone HAVING count(*) > 0
    ON CONFLICT (tenant) DO UPDATE
        SET revision_floor = greatest(mcp_tenants.revision_floor, excluded.revision_floor)
)
UPDATE mcp_catalog SET first_version = greatest(first_version, (SELECT max(version) FROM gone))
WHERE id = 1 AND EXISTS (SELECT FROM gone)
