-- What the dependencies of a revision resolved to: a lockfile, as text of JSON. Null while nobody has
-- resolved them.
ALTER TABLE mcp_revisions ADD COLUMN lock text
    CHECK (lock IS NULL OR octet_length(lock) BETWEEN 2 AND 1048576);
