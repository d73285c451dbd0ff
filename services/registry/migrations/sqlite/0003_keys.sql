-- API keys. What is kept of one is its public prefix and the SHA-256 of the whole. Versions are the
-- catalogue's: all writes of a store are in one order. Times are milliseconds since 1970 in UTC.
CREATE TABLE api_keys (
    prefix        TEXT    NOT NULL PRIMARY KEY CHECK (length(prefix) = 8
                                                      AND prefix NOT GLOB '*[^0-9a-f]*'),
    tenant        TEXT    NOT NULL CHECK (length(tenant) BETWEEN 1 AND 64
                                          AND length(tenant) = octet_length(tenant) -- no NUL
                                          AND tenant GLOB '[A-Za-z0-9]*'
                                          AND tenant NOT GLOB '*[^A-Za-z0-9._-]*'),
    name          TEXT    NOT NULL CHECK (length(name) BETWEEN 1 AND 64
                                          AND length(name) = octet_length(name)),
    subject       TEXT    NOT NULL CHECK (octet_length(subject) BETWEEN 1 AND 256),
    digest        BLOB    NOT NULL CHECK (length(digest) = 32),
    scopes        TEXT    NOT NULL CHECK (json_valid(scopes)), -- JSON array of texts
    role          TEXT    CHECK (length(role) BETWEEN 1 AND 128),
    tier          TEXT    CHECK (length(tier) BETWEEN 1 AND 64),
    created_at    INTEGER NOT NULL,
    created_by    TEXT    NOT NULL,
    expires_at    INTEGER,
    last_used_at  INTEGER,
    revoked_at    INTEGER,
    replaced_by   TEXT    CHECK (length(replaced_by) = 8),
    overlap_until INTEGER,
    version       INTEGER NOT NULL CHECK (version >= 1),
    CHECK ((replaced_by IS NULL) = (overlap_until IS NULL))
) STRICT, WITHOUT ROWID;

CREATE UNIQUE INDEX api_keys_by_version ON api_keys (version);
CREATE INDEX api_keys_by_tenant ON api_keys (tenant);
