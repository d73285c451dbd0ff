-- Drops all but the newest revisions of a tool, and code that no revision has any more.
-- $1 tenant, $2 name, $3 how many are kept.
WITH gone AS (
    DELETE FROM mcp_revisions
    WHERE tenant = $1 AND name = $2 AND revision <= (
        SELECT revision FROM mcp_revisions
        WHERE tenant = $1 AND name = $2
        ORDER BY revision DESC LIMIT 1 OFFSET $3
    )
    RETURNING revision, code_digest
)
DELETE FROM mcp_codes AS code
WHERE tenant = $1 AND digest IN (SELECT code_digest FROM gone)
  AND NOT EXISTS (
      SELECT FROM mcp_revisions AS other
      WHERE other.tenant = $1 AND other.code_digest = code.digest
        AND NOT (other.name = $2 AND other.revision IN (SELECT revision FROM gone))
  )
