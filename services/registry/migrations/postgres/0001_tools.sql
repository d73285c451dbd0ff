-- The registry's tables, in the schema of MCP_DYNAMIC_PG_SCHEMA, which they may share with others:
-- each name begins with mcp_. Checks mirror the grammar of the domain, so that nothing that a
-- gateway would refuse can be stored by another way. Times are milliseconds since 1970 in UTC. Texts
-- that are compared are of collation C: byte by byte, whatever the database's language is.

CREATE TABLE mcp_meta (
    key   text COLLATE "C" NOT NULL PRIMARY KEY,
    value text             NOT NULL
);

-- One row, which every writer locks first: so there is one order of writes, and it is the order in
-- which readers see them. Versions start at the time the tables were made, in milliseconds, so that
-- a version of another, older catalogue is told from one of this. What happened up to the first
-- version is not known any more: who comes from before it has to start again.
CREATE TABLE mcp_catalog (
    id            smallint NOT NULL PRIMARY KEY CHECK (id = 1),
    first_version bigint   NOT NULL CHECK (first_version > 0),
    version       bigint   NOT NULL CHECK (version >= first_version)
) WITH (fillfactor = 10);

INSERT INTO mcp_catalog (id, first_version, version)
SELECT 1, at, at FROM (SELECT floor(extract(epoch FROM clock_timestamp()) * 1000)::bigint AS at) AS now;

-- The last writes, each with a mark by which its writer finds out whether it was made when the answer
-- to its commit was lost. The id of a transaction is none: after a crash the server may give it away
-- again. As many are kept as can be made while a writer asks; they take each other's place.
CREATE TABLE mcp_writes (
    slot integer NOT NULL PRIMARY KEY CHECK (slot BETWEEN 0 AND 65535),
    mark uuid    NOT NULL
) WITH (fillfactor = 50);

-- The head of each name, kept as a tombstone when the tool is deleted: its revision numbers go on.
CREATE TABLE mcp_tools (
    tenant     text COLLATE "C" NOT NULL CHECK (tenant ~ '^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$'),
    name       text COLLATE "C" NOT NULL CHECK (name ~ '^[A-Za-z][A-Za-z0-9._:-]{2,63}$'),
    revision   bigint           NOT NULL CHECK (revision >= 1),
    version    bigint           NOT NULL CHECK (version >= 1),
    deleted    boolean          NOT NULL,
    created_at bigint           NOT NULL,
    PRIMARY KEY (tenant, name)
);

CREATE UNIQUE INDEX mcp_tools_by_version ON mcp_tools (version);
CREATE INDEX mcp_tools_live ON mcp_tools (tenant) WHERE NOT deleted;
CREATE INDEX mcp_tools_deleted ON mcp_tools (tenant, version) WHERE deleted;

-- Old tombstones are forgotten; names of that tenant that are not known then start above this
-- number, so that theirs are not used again either.
CREATE TABLE mcp_tenants (
    tenant         text COLLATE "C" NOT NULL PRIMARY KEY,
    revision_floor bigint           NOT NULL CHECK (revision_floor >= 0)
);

-- Code once per tenant and digest, as bytes of UTF-8: it may hold NUL, which text cannot.
CREATE TABLE mcp_codes (
    tenant text COLLATE "C" NOT NULL,
    digest bytea            NOT NULL CHECK (digest = sha256(code)),
    code   bytea            NOT NULL CHECK (octet_length(code) BETWEEN 1 AND 800000),
    PRIMARY KEY (tenant, digest)
);

-- Whether a definition keeps the limits. `json` and not `jsonb`, which would change its text. No
-- function of Postgres can read JSON with an escaped NUL, which texts of tools may hold; such a
-- definition is only bounded as a whole.
CREATE FUNCTION mcp_spec_fits(spec json) RETURNS boolean
LANGUAGE sql IMMUTABLE PARALLEL SAFE
AS $fits$
    SELECT CASE
        WHEN json_typeof(spec) <> 'object' OR octet_length(spec::text) > 4194304 THEN false
        WHEN strpos(spec::text, '\u0000') > 0 THEN true
        ELSE (
            SELECT coalesce(
                (title IS NULL OR json_typeof(title) = 'string'
                               AND char_length(title #>> '{}') BETWEEN 1 AND 120)
                AND json_typeof(description) = 'string'
                AND char_length(description #>> '{}') BETWEEN 1 AND 4000
                AND json_typeof(image) = 'string'
                AND image #>> '{}' ~ '^[a-zA-Z0-9][a-zA-Z0-9_.:/@-]{0,199}$'
                AND CASE json_typeof("timeoutMs")
                        WHEN 'number' THEN ("timeoutMs" #>> '{}')::numeric BETWEEN 1000 AND 120000
                        ELSE false END
                AND CASE json_typeof(dependencies)
                        WHEN 'array' THEN json_array_length(dependencies) <= 64
                        ELSE false END
                AND json_typeof(enabled) = 'boolean'
                AND (annotations IS NULL OR json_typeof(annotations) = 'object')
                AND (runtime IS NULL OR runtime #>> '{}' IN ('node', 'python'))
                AND (engine IS NULL OR engine #>> '{}' IN ('any', 'docker'))
                AND (isolation IS NULL OR isolation #>> '{}' IN ('call', 'tool'))
                AND (tags IS NULL OR json_typeof(tags) = 'array')
                AND ("rateLimit" IS NULL OR json_typeof("rateLimit") = 'object')
                AND (cache IS NULL OR json_typeof(cache) = 'object')
                AND ("requiredScopes" IS NULL OR json_typeof("requiredScopes") = 'array'),
                false)
            FROM json_to_record(spec) AS field (
                title json, description json, image json, "timeoutMs" json, dependencies json,
                enabled json, annotations json, runtime json, engine json, isolation json, tags json,
                "rateLimit" json, cache json, "requiredScopes" json)
        )
    END
$fits$;

CREATE TABLE mcp_revisions (
    tenant      text COLLATE "C" NOT NULL,
    name        text COLLATE "C" NOT NULL,
    revision    bigint           NOT NULL CHECK (revision >= 1),
    version     bigint           NOT NULL CHECK (version >= 1),
    spec        json             NOT NULL CHECK (mcp_spec_fits(spec)),
    code_digest bytea            NOT NULL CHECK (octet_length(code_digest) = 32),
    code_bytes  bigint           NOT NULL CHECK (code_bytes BETWEEN 1 AND 800000),
    made_at     bigint           NOT NULL,
    made_by     text             NOT NULL,
    changed     json             NOT NULL CHECK (json_typeof(changed) = 'array'), -- names of fields
    PRIMARY KEY (tenant, name, revision),
    FOREIGN KEY (tenant, name) REFERENCES mcp_tools (tenant, name),
    FOREIGN KEY (tenant, code_digest) REFERENCES mcp_codes (tenant, digest)
);

CREATE INDEX mcp_revisions_by_code ON mcp_revisions (tenant, code_digest);

-- Leases of executors. They belong to no tenant.
CREATE TABLE mcp_executors (
    id         text COLLATE "C" NOT NULL PRIMARY KEY CHECK (id ~ '^[ -~]{1,128}$'),
    info       json             NOT NULL CHECK (json_typeof(info) = 'object'),
    expires_at bigint           NOT NULL
);
