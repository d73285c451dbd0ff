-- What is kept of the gateways' audit logs. Every segment of every log has a row that never goes: its
-- head is what a file is verified against. The records are a copy to search in, bounded; the files of
-- the gateways are the truth.

-- One row, which every writer of these tables locks first.
CREATE TABLE mcp_audit_totals (
    id    smallint NOT NULL PRIMARY KEY CHECK (id = 1),
    rows  bigint   NOT NULL CHECK (rows >= 0),
    bytes bigint   NOT NULL CHECK (bytes >= 0)
) WITH (fillfactor = 10);

INSERT INTO mcp_audit_totals (id, rows, bytes) VALUES (1, 0, 0);

CREATE TABLE mcp_audit_segments (
    log        text COLLATE "C" NOT NULL CHECK (log ~ '^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$'),
    number     bigint           NOT NULL CHECK (number >= 1),
    start      text COLLATE "C" NOT NULL CHECK (start IN ('first', 'restart', 'gap', 'mismatch')),
    first_seq  bigint           NOT NULL CHECK (first_seq >= 1),
    missing    bigint           NOT NULL CHECK (missing >= 0),
    seq        bigint           NOT NULL CHECK (seq >= first_seq),
    hash       bytea            NOT NULL CHECK (octet_length(hash) = 32),
    began_at   bigint           NOT NULL,
    updated_at bigint           NOT NULL,
    PRIMARY KEY (log, number)
) WITH (fillfactor = 50);

-- Nothing of this product takes a segment away, and a head only goes forward.
CREATE FUNCTION mcp_audit_segments_stay() RETURNS trigger
LANGUAGE plpgsql
AS $stay$
BEGIN
    IF TG_OP = 'UPDATE' AND NEW.log = OLD.log AND NEW.number = OLD.number AND NEW.seq > OLD.seq
       AND NEW.start = OLD.start AND NEW.first_seq = OLD.first_seq AND NEW.missing = OLD.missing
       AND NEW.began_at = OLD.began_at THEN
        RETURN NEW;
    END IF;
    RAISE EXCEPTION 'segments of audit logs stay as they are';
END
$stay$;

CREATE TRIGGER mcp_audit_segments_stay BEFORE UPDATE OR DELETE ON mcp_audit_segments
    FOR EACH ROW EXECUTE FUNCTION mcp_audit_segments_stay();

-- In the order in which they came, which is the order of `received_at`.
CREATE TABLE mcp_audit_records (
    id          bigint           NOT NULL GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    received_at bigint           NOT NULL,
    log         text COLLATE "C" NOT NULL,
    segment     bigint           NOT NULL,
    seq         bigint           NOT NULL,
    at          bigint           NOT NULL,
    actor       text COLLATE "C" NOT NULL,
    tenant      text COLLATE "C",
    action      text COLLATE "C" NOT NULL,
    target      text COLLATE "C",
    outcome     text COLLATE "C" NOT NULL,
    bytes       bigint           NOT NULL CHECK (bytes = octet_length(line)),
    line        text             NOT NULL
);
