-- API keys. What is kept of one is its public prefix and the SHA-256 of the whole. Versions are the
-- catalogue's: all writes of a database are in one order. Times are milliseconds since 1970 in UTC.
CREATE TABLE mcp_api_keys (
    prefix        text COLLATE "C" NOT NULL PRIMARY KEY CHECK (prefix ~ '^[0-9a-f]{8}$'),
    tenant        text COLLATE "C" NOT NULL CHECK (tenant ~ '^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$'),
    name          text             NOT NULL CHECK (name ~ '^[A-Za-z0-9][A-Za-z0-9 ._:@/-]{0,63}$'),
    subject       text             NOT NULL CHECK (octet_length(subject) BETWEEN 1 AND 256),
    digest        bytea            NOT NULL CHECK (octet_length(digest) = 32),
    scopes        json             NOT NULL CHECK (json_typeof(scopes) = 'array'), -- of texts
    role          text             CHECK (char_length(role) BETWEEN 1 AND 128),
    tier          text             CHECK (char_length(tier) BETWEEN 1 AND 64),
    created_at    bigint           NOT NULL,
    created_by    text             NOT NULL,
    expires_at    bigint,
    last_used_at  bigint,
    revoked_at    bigint,
    replaced_by   text             CHECK (replaced_by ~ '^[0-9a-f]{8}$'),
    overlap_until bigint,
    version       bigint           NOT NULL CHECK (version >= 1),
    CHECK ((replaced_by IS NULL) = (overlap_until IS NULL))
);

CREATE UNIQUE INDEX mcp_api_keys_by_version ON mcp_api_keys (version);
CREATE INDEX mcp_api_keys_by_tenant ON mcp_api_keys (tenant);
