-- What writes with an idempotency key were answered, so that the same request of the same caller gets
-- the same answer and is made once. Kept for a day; of more than ten thousand of a tenant the oldest
-- go first.
CREATE TABLE answers (
    tenant  TEXT    NOT NULL,
    subject TEXT    NOT NULL,
    key     TEXT    NOT NULL CHECK (length(key) BETWEEN 1 AND 128),
    request BLOB    NOT NULL CHECK (length(request) = 32), -- SHA-256
    answer  TEXT    NOT NULL,
    made_at INTEGER NOT NULL,
    PRIMARY KEY (tenant, subject, key)
) STRICT;

CREATE INDEX answers_by_age ON answers (tenant, made_at);
