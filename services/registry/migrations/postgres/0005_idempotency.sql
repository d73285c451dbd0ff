-- What writes with an idempotency key were answered, so that the same request of the same caller gets
-- the same answer and is made once. Kept for a day; of more than ten thousand of a tenant the oldest
-- go first.
CREATE TABLE mcp_answers (
    tenant  text COLLATE "C" NOT NULL CHECK (tenant ~ '^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$'),
    subject text COLLATE "C" NOT NULL,
    key     text COLLATE "C" NOT NULL CHECK (key ~ '^[!-~]{1,128}$'),
    request bytea            NOT NULL CHECK (octet_length(request) = 32), -- SHA-256
    answer  text             NOT NULL,
    made_at bigint           NOT NULL,
    PRIMARY KEY (tenant, subject, key)
);

CREATE INDEX mcp_answers_by_age ON mcp_answers (tenant, made_at);
