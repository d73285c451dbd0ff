-- What is kept of the gateways' audit logs. Every segment of every log has a row that never goes: its
-- head is what a file is verified against. The records are a copy to search in, bounded; the files of
-- the gateways are the truth.

CREATE TABLE audit_totals (
    id    INTEGER NOT NULL PRIMARY KEY CHECK (id = 1),
    rows  INTEGER NOT NULL CHECK (rows >= 0),
    bytes INTEGER NOT NULL CHECK (bytes >= 0)
) STRICT;

INSERT INTO audit_totals (id, rows, bytes) VALUES (1, 0, 0);

CREATE TABLE audit_segments (
    log        TEXT    NOT NULL CHECK (length(log) BETWEEN 1 AND 128
                                       AND length(log) = octet_length(log) -- no NUL
                                       AND log GLOB '[A-Za-z0-9]*'
                                       AND log NOT GLOB '*[^A-Za-z0-9._-]*'),
    number     INTEGER NOT NULL CHECK (number >= 1),
    start      TEXT    NOT NULL CHECK (start IN ('first', 'restart', 'gap', 'mismatch')),
    first_seq  INTEGER NOT NULL CHECK (first_seq >= 1),
    missing    INTEGER NOT NULL CHECK (missing >= 0),
    seq        INTEGER NOT NULL CHECK (seq >= first_seq),
    hash       BLOB    NOT NULL CHECK (length(hash) = 32),
    began_at   INTEGER NOT NULL,
    updated_at INTEGER NOT NULL,
    PRIMARY KEY (log, number)
) STRICT, WITHOUT ROWID;

-- Nothing of this product takes a segment away, and a head only goes forward.
CREATE TRIGGER audit_segments_stay BEFORE DELETE ON audit_segments
BEGIN
    SELECT RAISE(ABORT, 'segments of audit logs stay as they are');
END;

CREATE TRIGGER audit_segments_go_forward BEFORE UPDATE ON audit_segments
WHEN NEW.log IS NOT OLD.log OR NEW.number IS NOT OLD.number OR NEW.seq <= OLD.seq
  OR NEW.start IS NOT OLD.start OR NEW.first_seq IS NOT OLD.first_seq
  OR NEW.missing IS NOT OLD.missing OR NEW.began_at IS NOT OLD.began_at
BEGIN
    SELECT RAISE(ABORT, 'segments of audit logs stay as they are');
END;

-- In the order in which they came, which is the order of `received_at`.
CREATE TABLE audit_records (
    id          INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
    received_at INTEGER NOT NULL,
    log         TEXT    NOT NULL,
    segment     INTEGER NOT NULL,
    seq         INTEGER NOT NULL,
    at          INTEGER NOT NULL,
    actor       TEXT    NOT NULL,
    tenant      TEXT,
    action      TEXT    NOT NULL,
    target      TEXT,
    outcome     TEXT    NOT NULL,
    bytes       INTEGER NOT NULL CHECK (bytes = octet_length(line)),
    line        TEXT    NOT NULL
) STRICT;
