-- The registry's tables. Checks mirror the grammar of the domain, so that nothing that a gateway
-- would refuse can be stored by another way. Times are milliseconds since 1970 in UTC.

PRAGMA application_id = 1684890480; -- "dmcp"

CREATE TABLE meta (
    key   TEXT NOT NULL PRIMARY KEY,
    value TEXT NOT NULL
) STRICT, WITHOUT ROWID;

-- One row. Versions start at the time the store was made, in milliseconds, so that a version of
-- another, older store is told from one of this store. What happened up to the first version is
-- not known any more: who comes from before it has to start again.
CREATE TABLE catalog (
    id            INTEGER NOT NULL PRIMARY KEY CHECK (id = 1),
    first_version INTEGER NOT NULL CHECK (first_version > 0),
    version       INTEGER NOT NULL CHECK (version >= first_version)
) STRICT;

INSERT INTO catalog (id, first_version, version)
SELECT 1, at, at FROM (SELECT CAST(unixepoch('subsec') * 1000 AS INTEGER) AS at);

-- The head of each name, kept as a tombstone when the tool is deleted: its revision numbers go on.
CREATE TABLE tools (
    tenant     TEXT    NOT NULL CHECK (length(tenant) BETWEEN 1 AND 64
                                       AND length(tenant) = octet_length(tenant) -- no NUL
                                       AND tenant GLOB '[A-Za-z0-9]*'
                                       AND tenant NOT GLOB '*[^A-Za-z0-9._-]*'),
    name       TEXT    NOT NULL CHECK (length(name) BETWEEN 3 AND 64
                                       AND length(name) = octet_length(name)
                                       AND name GLOB '[A-Za-z]*'
                                       AND name NOT GLOB '*[^A-Za-z0-9._:-]*'),
    revision   INTEGER NOT NULL CHECK (revision >= 1),
    version    INTEGER NOT NULL CHECK (version >= 1),
    deleted    INTEGER NOT NULL CHECK (deleted IN (0, 1)),
    created_at INTEGER NOT NULL,
    PRIMARY KEY (tenant, name)
) STRICT, WITHOUT ROWID;

CREATE UNIQUE INDEX tools_by_version ON tools (version);
CREATE INDEX tools_live ON tools (tenant) WHERE deleted = 0;
CREATE INDEX tools_deleted ON tools (tenant, version) WHERE deleted = 1;

-- Old tombstones are forgotten; names of that tenant that are not known then start above this
-- number, so that theirs are not used again either.
CREATE TABLE tenants (
    tenant         TEXT    NOT NULL PRIMARY KEY,
    revision_floor INTEGER NOT NULL CHECK (revision_floor >= 0)
) STRICT, WITHOUT ROWID;

-- Code once per tenant and digest, as bytes of UTF-8: it may hold NUL.
CREATE TABLE codes (
    tenant TEXT NOT NULL,
    digest BLOB NOT NULL CHECK (length(digest) = 32),
    code   BLOB NOT NULL CHECK (length(code) BETWEEN 1 AND 800000),
    PRIMARY KEY (tenant, digest)
) STRICT;

CREATE TABLE revisions (
    tenant      TEXT    NOT NULL,
    name        TEXT    NOT NULL,
    revision    INTEGER NOT NULL CHECK (revision >= 1),
    version     INTEGER NOT NULL CHECK (version >= 1),
    spec        TEXT    NOT NULL CHECK (json_valid(spec)),
    code_digest BLOB    NOT NULL CHECK (length(code_digest) = 32),
    code_bytes  INTEGER NOT NULL CHECK (code_bytes BETWEEN 1 AND 800000),
    made_at     INTEGER NOT NULL,
    made_by     TEXT    NOT NULL,
    changed     TEXT    NOT NULL CHECK (json_valid(changed)), -- JSON array of field names
    PRIMARY KEY (tenant, name, revision),
    FOREIGN KEY (tenant, name) REFERENCES tools (tenant, name),
    FOREIGN KEY (tenant, code_digest) REFERENCES codes (tenant, digest)
) STRICT;

CREATE INDEX revisions_by_code ON revisions (tenant, code_digest);

-- Leases of executors. They belong to no tenant.
CREATE TABLE executors (
    id         TEXT    NOT NULL PRIMARY KEY CHECK (length(id) BETWEEN 1 AND 128),
    info       TEXT    NOT NULL CHECK (json_valid(info)),
    expires_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
